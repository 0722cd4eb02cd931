"""The linear system of a step, and the loop that solves it."""
