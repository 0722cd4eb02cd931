"""Batches: the cases of a step. Schedulers decide the sizes, and this module draws the cases."""

from __future__ import annotations

import torch
from torch import Tensor

from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, quoted
from hfbench.parts.protocols import BatchPlan, Split

ORDERS = ("cyclic", "random", "epochs")


def draw_cases(plan: BatchPlan, iteration: int, total: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Indices of the gradient's and the curvature's cases in step `iteration` (1, 2, …), out of `total`.

    The curvature's cases are among the gradient's; if both are equally many, the same tensor is returned twice.
    "cyclic": consecutive windows that wrap around; the curvature's window moves inside the gradient's. With the
    gradient on everything and a curvature of total/c cases this is the chunk (iteration - 1) mod c of Martens' code.
    "random": a fresh permutation per step, from whose beginning both take their cases, so that two methods that share
    the generator see the same cases up to the smaller size.
    "epochs": windows of a permutation, which is fresh when no whole window is left, so that a pass meets no case twice.
    """
    if not 0 < plan.curvature <= plan.gradient <= total:
        raise ConfigError(
            f"0 < curvature <= gradient <= {total} (the training cases) must hold for a batch, but got "
            f"curvature={plan.curvature}, gradient={plan.gradient}; lower the scheduler's sizes."
        )
    if plan.order not in ORDERS:
        close = did_you_mean(plan.order, ORDERS)
        raise ConfigError(f"a batch's order must be one of {', '.join(ORDERS)}, but got {quoted(plan.order)}{close}.")
    if plan.order == "cyclic":
        gradient = _window(iteration - 1, plan.gradient, total)
        inner = _window(iteration - 1, plan.curvature, plan.gradient)
    else:
        first = plan.gradient * _place(plan, iteration, total)[1] if plan.order == "epochs" else 0
        gradient = torch.randperm(total, generator=generator, device="cpu")[first : first + plan.gradient]
        inner = torch.arange(plan.curvature, device="cpu")
    return gradient, gradient if plan.curvature == plan.gradient else gradient[inner]


def draw_name(plan: BatchPlan, iteration: int, total: int) -> str:
    """The name of the random stream that a step's cases are drawn from: in an epoch, one for all of its steps."""
    if plan.order == "epochs":
        return f"batches/epoch-{_place(plan, iteration, total)[0]}"
    return f"batches/{iteration}"


def take(split: Split, indices: Tensor) -> tuple[Tensor, Tensor]:
    """The cases' inputs and targets. Consecutive cases are a view; targets that are the inputs are not copied twice."""
    first = int(indices[0])
    consecutive = torch.equal(indices, torch.arange(first, first + len(indices), device="cpu"))
    where = slice(first, first + len(indices)) if consecutive else indices
    inputs = split.inputs[where]
    return inputs, inputs if split.targets is split.inputs else split.targets[where]


def take_of(
    split: Split, indices: Tensor, batch: tuple[Tensor, Tensor], indices_of_batch: Tensor
) -> tuple[Tensor, Tensor]:
    """As `take`, but views of a batch whose first cases these are."""
    cases = len(indices)
    if not torch.equal(indices, indices_of_batch[:cases]):
        return take(split, indices)
    inputs, targets = batch
    first = inputs[:cases]
    return first, first if targets is inputs else targets[:cases]


def _place(plan: BatchPlan, iteration: int, total: int) -> tuple[int, int]:
    """The epoch of a step and its place there, both from 0, if all batches are as large as this one."""
    return divmod(iteration - 1, max(1, total // max(1, plan.gradient)))


def _window(step: int, size: int, total: int) -> Tensor:
    return (torch.arange(size, device="cpu") + step * size) % total
