"""Frozen systems under the microscope: every solver and preconditioner on the identical system."""
