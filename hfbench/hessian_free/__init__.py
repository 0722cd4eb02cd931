"""One Hessian-free step, and the optimiser around it."""
