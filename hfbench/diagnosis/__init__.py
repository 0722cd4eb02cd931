"""What is wrong with a run: failure signatures, with the evidence and what to do."""
