"""Sweeps: tune, retest, freeze and carry settings over."""
