"""L-BFGS with a strong Wolfe line search, as a baseline of studies.

Problem    minimise f(w) = (1/n) Σ loss(z_i, t_i) + ½ wᵀ(mu D)w, the Hessian-
           free methods' objective: weight decay is part of f and of its
           gradient, not decoupled from it
Source     Liu and Nocedal (1989) with the strong Wolfe line search of Nocedal
           and Wright (2006), algorithms 3.5 and 3.6; the implementation is
           torch's
Cost       one forward and one backward pass (3 units) of every case per
           gradient; no Gauss-Newton products
"""

from __future__ import annotations

from typing import Annotated, Any, final

import torch
from torch import nn

from hfbench.parts import Integers, Log, Within, part

from .first_order import FirstOrder


@final
@part
class LBFGS:
    """L-BFGS, strong Wolfe line search: Liu & Nocedal (1989)."""

    lr: Annotated[float, Log(1e-2, 1.0), Within("(0, inf)"), "first step length tried"] = 1.0
    history: Annotated[int, Integers(3, 100, log=True), Within("[1, 10000]"), "pairs remembered"] = 20
    updates: Annotated[int, Integers(1, 50, log=True), Within("[1, 10000]"), "updates in one outer iteration"] = 10

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> FirstOrder:
        """Begins the optimiser. An outer iteration makes `updates` updates on the scheduler's cases, best all."""
        return FirstOrder(
            model, loss, mu_D, lambda weights: [wolfe_lbfgs(weights, self.history, self.updates, self.lr)]
        )


def wolfe_lbfgs(weights: list[nn.Parameter], history: int, updates: int, lr: float = 1.0) -> torch.optim.LBFGS:
    """torch's L-BFGS with a strong Wolfe line search, which no tolerance ends."""
    exact: dict[str, Any] = {"tolerance_grad": 0.0, "tolerance_change": 0.0, "line_search_fn": "strong_wolfe"}
    return torch.optim.LBFGS(weights, lr=lr, history_size=history, max_iter=updates, **exact)
