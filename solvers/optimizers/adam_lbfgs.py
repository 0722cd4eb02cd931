"""Adam, then L-BFGS: the usual training of physics-informed networks.

Problem    minimise f(w) = (1/n) Σ loss(z_i, t_i) + ½ wᵀ(mu D)w, weight decay
           being part of f and of its gradient
Method     `adam_updates` updates of Adam on the scheduler's cases, best all of
           them, one in an outer iteration; then those of L-BFGS with a strong
           Wolfe line search, `updates` in an outer iteration
Source     the way of Raissi, Perdikaris and Karniadakis (2019) and most after
           them; why it takes both: Rathore et al. (2024), "Challenges in
           training PINNs", section 6. The implementations are torch's
Cost       one forward and one backward pass (3 units) of every case per
           gradient; no Gauss-Newton products
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, final

import torch
from torch import nn
from torch.optim import Optimizer

from hfbench.parts import Integers, Log, Within, part

from .first_order import FirstOrder
from .lbfgs import wolfe_lbfgs


class AdamThenLBFGS(Optimizer):
    """Adam for so many updates, and L-BFGS from there on."""

    def __init__(self, weights: list[nn.Parameter], adam_updates: int, adam: Optimizer, lbfgs: Optimizer) -> None:
        super().__init__(weights, {})
        self.adam_updates, self.adam, self.lbfgs, self.made = adam_updates, adam, lbfgs, 0

    def step(self, closure: Callable[[], float]) -> float:  # type: ignore[override]
        """One update of Adam, or several of L-BFGS. The value is that of the closure before them."""
        self.made += 1
        if self.made > self.adam_updates:
            quasi_newton: Any = self.lbfgs  # torch's step has no types
            return float(quasi_newton.step(closure))
        value = closure()
        self.adam.step()
        return value

    def state_dict(self) -> dict[str, Any]:
        return {"adam": self.adam.state_dict(), "lbfgs": self.lbfgs.state_dict(), "made": self.made}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.adam.load_state_dict(state_dict["adam"])
        self.lbfgs.load_state_dict(state_dict["lbfgs"])
        self.made = state_dict["made"]


@final
@part
class AdamLBFGS:
    """Adam, then L-BFGS, as physics-informed nets are trained."""

    adam_updates: Annotated[
        int, Integers(100, 10_000, log=True), Within("[0, 1e9]"), "updates of Adam, before L-BFGS"
    ] = 1000
    lr: Annotated[float, Log(1e-4, 1e-1), Within("(0, inf)"), "learning rate of Adam"] = 1e-3
    history: Annotated[int, Integers(3, 100, log=True), Within("[1, 10000]"), "pairs remembered"] = 50
    updates: Annotated[
        int, Integers(1, 50, log=True), Within("[1, 10000]"), "updates of L-BFGS in one outer iteration"
    ] = 10

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> FirstOrder:
        """Begins with Adam."""
        return FirstOrder(model, loss, mu_D, self._build)

    def _build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        adam = torch.optim.Adam(weights, lr=self.lr)
        return [AdamThenLBFGS(weights, self.adam_updates, adam, wolfe_lbfgs(weights, self.history, self.updates))]
