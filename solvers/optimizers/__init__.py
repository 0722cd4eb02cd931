"""Baselines: optimisers of `torch.optim` with the step interface of studies."""
