"""Adam and L-BFGS as baselines of a study, against a plain loop with `torch.optim`.

The baselines are the opponents of the Hessian-free method, which overhead in them would favour. One side goes once
through the cases with the baseline of a study (Adam; for L-BFGS an outer iteration of ten updates). The other does the
same in plain torch: loss, `backward()`, `step()`. Both use weight decay. Of plain Adam's kernels, torch's default and
its fused ones, the faster ones count. L-BFGS starts anew every time, since after paths differ by rounding, their line
searches need different numbers of evaluations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hfbench import registry

from .problems import problem
from .runner import Options, Row
from .timing import clock, take_turns

TITLE = "Adam and L-BFGS against a plain torch loop"
COLUMNS = {
    "task": "network",
    "method": "method",
    "cases": "cases",
    "minibatch": "minibatch",
    "baseline": "baseline ms",
    "plain": "plain ms",
    "ratio": "ratio",
    "low": "25 %",
    "high": "75 %",
}
MU = 1e-5
UPDATES = 10


def rows(options: Options) -> Iterator[Row]:
    for task in ("usps",) if options.quick else ("usps", "curves", "mnist"):
        for minibatch in (128,) if options.quick else (32, 128, 512):
            yield compare(task, 2048, minibatch, options)
        yield compare(task, 2048, None, options)


def compare(task: str, cases: int, minibatch: int | None, options: Options) -> Row:
    """Adam on minibatches, or L-BFGS on all cases; medians in milliseconds."""
    one = problem(task, cases)
    mu_D = tuple(MU * (p.dim() > 1) for p in one.model.parameters())
    part = registry.build("optimizer", _settings(minibatch), "benchmark")
    fresh = partial(copy.deepcopy, one.model)
    sides: dict[str, Callable[[], object]]
    if minibatch is None:
        sides = {
            "baseline": lambda: part.begin(fresh(), one.loss, mu_D).step(one.inputs, one.targets),
            "plain": lambda: plain_lbfgs(fresh(), one.inputs, one.targets)(),
        }
    else:
        ours = part.begin(fresh(), one.loss, mu_D)
        sides = {"baseline": lambda: ours.step(one.inputs, one.targets)}
        for name, fused in (("default", None), ("fused", True)):
            sides[name] = plain_adam(fresh(), one.inputs, one.targets, minibatch, fused)
    least, budget = (3, 0.1) if options.quick else (9, 3.0)
    found = take_turns(sides, least=least, budget=budget, clock=clock(options.threads))
    plain = min((name for name in sides if name != "baseline"), key=found.median)
    ratio = found.ratio("baseline", plain)
    return {
        "task": task,
        "method": "lbfgs" if minibatch is None else "adam",
        "cases": cases,
        "minibatch": minibatch,
        "baseline": 1e3 * found.median("baseline"),
        "plain": 1e3 * found.median(plain),
        "ratio": ratio.median,
        "low": ratio.low,
        "high": ratio.high,
    }


def _settings(minibatch: int | None) -> dict[str, object]:
    if minibatch is None:
        return {"use": "lbfgs", "updates": UPDATES}
    return {"use": "adam", "minibatch": minibatch}


# ---------------------------------------------------------------- the loops in plain torch


def plain_adam(model: nn.Module, x: Tensor, t: Tensor, minibatch: int, fused: bool | None) -> Callable[[], object]:
    """Goes once through the cases; weights decay and biases do not, as in our objective."""
    weights, biases = ([p for p in model.parameters() if (p.dim() > 1) is wanted] for wanted in (True, False))
    groups: list[dict[str, Any]] = [{"params": weights, "weight_decay": MU}, {"params": biases}]
    adam = torch.optim.Adam(groups, lr=1e-3, fused=fused)

    def epoch() -> None:
        for some, theirs in zip(torch.split(x, minibatch), torch.split(t, minibatch), strict=True):
            adam.zero_grad()
            torch.autograd.backward(loss(model(some), theirs))
            adam.step()

    return epoch


def plain_lbfgs(model: nn.Module, x: Tensor, t: Tensor) -> Callable[[], object]:
    """Makes as many updates on all cases as an outer iteration of the baseline."""
    lbfgs = torch.optim.LBFGS(
        model.parameters(), max_iter=UPDATES, history_size=20, tolerance_grad=0.0, tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )  # fmt: skip
    decayed = [p for p in model.parameters() if p.dim() > 1]

    def closure() -> Tensor:
        lbfgs.zero_grad()
        value = loss(model(x), t) + 0.5 * MU * sum(p.square().sum() for p in decayed)
        torch.autograd.backward(value)
        return value

    return partial(lbfgs.step, closure)


def loss(z: Tensor, t: Tensor) -> Tensor:
    """The logistic loss of the three networks, a mean over cases."""
    return functional.binary_cross_entropy_with_logits(z, t, reduction="sum") / len(z)
