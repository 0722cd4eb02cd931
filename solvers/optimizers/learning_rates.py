"""Learning rates over the length of a run: constant, cosine, linear and one-cycle, each after a warm-up.

With s = span · updates of the run, of which the first w = warmup · s warm up, update k = 0, 1, … has the rate lr times

    warm-up     (k + 1) / (w + 1)              for k < w
    constant    1                              from there on
    cosine      (1 + cos π(k - w) / (s - w)) / 2
    linear      1 - (k - w) / (s - w)
    one-cycle   from 1/25 up to 1 in the first w updates, three tenths of all by default, then down to 4e-6, both in
                cosines; the momentum falls from 0.95 to 0.85 and comes back

The implementation is that of `torch.optim.lr_scheduler`. After update s the rate stays what it was in it.

Source     Loshchilov and Hutter (2017), equation 5, for cosine; Smith and Topin (2018) for one-cycle
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from hfbench.errors import ConfigError
from hfbench.parts import Horizon

SCHEDULES = ("constant", "cosine", "linear", "one-cycle")
RISE = 0.3  # of a run, in which the rate of one-cycle rises


@dataclass(frozen=True)
class LearningRates:
    """The course of the learning rate: a schedule's name, the share of it that warms up, and its share of the run."""

    schedule: str = "constant"
    warmup: float = 0.0
    span: float = 1.0

    @property
    def needs_horizon(self) -> bool:
        return self.schedule != "constant" or self.warmup > 0

    def check(self, horizon: Horizon) -> None:
        """Raises ConfigError for a budget whose end cannot be told in updates."""
        if self.needs_horizon and not horizon.budget.keys() & {"passes", "seconds", "iterations"}:
            raise ConfigError(
                f"schedule: '{self.schedule}' with a warm-up of {self.warmup:g} must know when the run ends, so its "
                "budget must have passes, seconds or iterations, but has only products, which a baseline does not make."
            )

    def length(self, updates: int) -> int:
        """Updates that the schedule of a run of so many spans."""
        return max(1, round(self.span * updates))

    def begin(self, optimizers: Sequence[Optimizer], updates: int) -> list[LRScheduler]:
        """A scheduler for each optimiser, which spans so many updates; none where the rate stays."""
        return [self._of(optimizer, updates) for optimizer in optimizers] if self.needs_horizon else []

    def _of(self, optimizer: Optimizer, updates: int) -> LRScheduler:
        if self.schedule == "one-cycle":
            has_momentum = all({"betas", "momentum"} & group.keys() for group in optimizer.param_groups)
            highest = [group["lr"] for group in optimizer.param_groups]
            rise: dict[str, Any] = {"pct_start": self.warmup or RISE, "cycle_momentum": has_momentum}
            return OneCycleLR(optimizer, highest, total_steps=max(updates, 2), **rise)
        warm = round(self.warmup * updates)
        rest = max(updates - warm, 1)
        main: LRScheduler
        if self.schedule == "cosine":
            main = CosineAnnealingLR(optimizer, rest)
        elif self.schedule == "linear":
            main = LinearLR(optimizer, 1.0, 0.0, rest)
        else:
            main = ConstantLR(optimizer, 1.0, 1)
        if not warm:
            return main
        return SequentialLR(optimizer, [LinearLR(optimizer, 1 / (warm + 1), 1.0, warm), main], [warm])


def updates_of(horizon: Horizon, work: float, seconds: float, iteration: int) -> int:
    """Updates until the first limit of the budget is spent.

    An update takes so much work, in forward passes of a case, and so many seconds; an outer iteration has `iteration`.
    """
    a_pass = horizon.cases / work
    ends = {"passes": a_pass, "seconds": 1 / seconds, "iterations": float(iteration)}
    limits = [limit * ends[name] for name, limit in horizon.budget.items() if name in ends]
    return max(1, round(min(limits)))
