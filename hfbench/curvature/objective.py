"""Objective f(w) = (1/n) Σ loss(z_i, t_i) + (mu/2) wᵀDw on any cases, in chunks if memory is limited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from hfbench.curvature.loss import check_loss, check_targets, mean_loss
from hfbench.curvature.model_checks import check_batch, outputs_of, trainable
from hfbench.curvature.recorded_passes import check_chunk
from hfbench.curvature.weight_decay import decay_penalty
from hfbench.curvature.weights_by_name import outputs_with
from hfbench.errors import ConfigError
from hfbench.linalg.data_parallel import ALONE, Ranks
from hfbench.memory.allocations import case_slices
from hfbench.memory.byte_sizes import bytes_of
from hfbench.memory.forecast import plan_of, resident_bytes
from hfbench.messages import quoted


@torch.no_grad()
def objective(
    model: nn.Module,
    loss: str,
    inputs: Tensor,
    targets: Tensor,
    mu_D: Sequence[float] = (),
    chunk: int | None = None,
    weights: Mapping[str, Tensor] | None = None,
    max_bytes: int | str | None = None,
    ranks: Ranks = ALONE,
) -> float:
    """f(w) = (1/n) Σ loss(z_i, t_i) + (mu/2) wᵀDw, with `mu_D` of `decay_per_block` and `weights` for the model's.

    `chunk` limits the cases in the model at once, and `max_bytes` the bytes of tensors, the cases not counted. Raises
    ConfigError if a single case takes more. With `ranks`, f is over the cases of all ranks together.
    """
    check_batch(inputs, targets)
    loss, chunk, max_bytes = check_loss(loss), check_chunk(chunk), bytes_of(max_bytes)
    named = _by_name(model, weights)
    if not (isinstance(mu_D, Sequence) and len(mu_D) in (0, len(named))):
        raise ConfigError(
            f"mu_D: must have one number for each of {len(named)} parameters, or none, but got {quoted(mu_D)}."
        )

    def total(inputs: Tensor, targets: Tensor, size: int | None) -> float:
        parts = case_slices(len(inputs), size or len(inputs))
        return sum(_sum_of_losses(model, named, loss, inputs[part], targets[part]) for part in parts)

    size = (
        chunk
        if max_bytes is None
        else plan_of(total, inputs, targets, resident_bytes(model, ()), chunk, max_bytes).chunk
    )
    mean = ranks.share(len(inputs)).mean(total(inputs, targets, size) / len(inputs))
    return mean + (decay_penalty(list(named.values()), mu_D) if mu_D else 0.0)


def _by_name(model: nn.Module, weights: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
    """The weights given, or the model's."""
    if weights is None:
        return {name: p.detach() for name, p in trainable(model).items()}
    if not (isinstance(weights, Mapping) and weights and all(isinstance(w, Tensor) for w in weights.values())):
        raise ConfigError(
            f"weights: must map each trained parameter's name to a tensor, or be None, but got {quoted(weights)}."
        )
    return dict(weights)


def _sum_of_losses(model: nn.Module, named: dict[str, Tensor], loss: str, inputs: Tensor, targets: Tensor) -> float:
    z = outputs_of(lambda x: outputs_with(model, named, x), inputs, list(named.values()))
    return mean_loss(z, check_targets(loss, z, targets), loss) * len(inputs)
