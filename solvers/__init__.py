"""Inner solvers and preconditioners of the damped Gauss-Newton system."""
