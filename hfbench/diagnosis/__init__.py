"""Failure signatures of a run, with the evidence and the remedy."""
