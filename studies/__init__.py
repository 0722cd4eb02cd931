"""Across runs: studies over paired seeds, their statistics, tables and figures."""
