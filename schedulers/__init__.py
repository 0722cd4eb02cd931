"""Batch schedulers: the number of cases of the next step, and the reason."""
