"""Steps of a small problem, and settings that switch the globalisation off."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from hfbench import HessianFree
from support.systems import flat, inputs_for, network, targets_for

SOLVERS = ["cg", "lsmr", "lsqr", "minres"]


PRECONDITIONERS = ["identity", "martens", "chapelle-erhan"]


PLAIN = {"warm_start": 0.0, "backtracking": False, "adapt_damping": False, "line_search": False}


DTYPE = torch.float64


def problem(loss: str = "logistic", cases: int = 30, seed: int = 0, dtype: torch.dtype = DTYPE):
    model = network((6, 5, 4), seed, dtype)
    return model, inputs_for(cases, 6, seed + 1, dtype), targets_for(loss, cases, 4, seed + 2, dtype)


def weights(model: nn.Module) -> np.ndarray:
    return flat(tuple(model.parameters()))  # type: ignore[arg-type]


def run(steps: int, loss: str = "logistic", curvature: bool = False, **settings: Any):
    """(model, optimizer, results) after some steps of a small problem."""
    model, x, t = problem(loss)
    optimizer = HessianFree(model, loss, **settings)
    part = (x[:12], t[:12]) if curvature else None
    return model, optimizer, [optimizer.step(x, t, part) for _ in range(steps)]
