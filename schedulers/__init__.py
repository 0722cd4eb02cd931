"""Batch schedulers: how many cases the next step sees, and why."""
