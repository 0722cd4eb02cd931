"""Preconditioners of the damped Gauss-Newton system."""
