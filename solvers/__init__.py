"""Inner solvers of the damped Gauss-Newton system, and stopping rules."""
