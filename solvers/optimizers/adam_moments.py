"""Settings that all optimisers with Adam's two moments have."""

from __future__ import annotations

from typing import Annotated, Any

from hfbench.parts import Linear, Log, Within, part

from .minibatches import Minibatches


@part
class AdamMoments(Minibatches):
    """Learning rate, decays of both moments, and eps."""

    lr: Annotated[float, Log(1e-5, 1e-1), Within("(0, inf)"), "learning rate"] = 1e-3
    beta1: Annotated[float, Linear(0.5, 0.99), Within("[0, 1)"), "decay of the mean gradient"] = 0.9
    beta2: Annotated[float, Linear(0.9, 0.9999), Within("[0, 1)"), "decay of the mean square"] = 0.999
    eps: Annotated[float, Log(1e-10, 1e-4), Within("(0, 1]"), "added to the root mean square"] = 1e-8

    @property
    def moments(self) -> dict[str, Any]:
        """As keyword arguments of a class of torch."""
        return {"lr": self.lr, "betas": (self.beta1, self.beta2), "eps": self.eps}
