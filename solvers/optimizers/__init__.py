"""Baselines: optimisers of `torch.optim` behind the step that studies take."""
