"""Switch of a recorded pass to operations whose derivatives are written out (`hfbench.curvature.linear_maps`).

Inside, a call of one of these operations by a module or a function gives the value that PyTorch computes, and a graph
of its rule. PyTorch records all others: those that its own code calls, those whose graph something else rewrites
(`torch.func`, checkpoints, autocast), and all of a model that differentiates in its forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from hfbench.curvature import convolution_rules, normalisation_rules, pooling_rules, recurrence_rules
from hfbench.curvature.linear_maps import DifferentiatedInside, forward_pass

RULES: Mapping[Any, Callable[..., Tensor | None]] = {
    **convolution_rules.RULES,
    **normalisation_rules.RULES,
    **pooling_rules.RULES,
    **recurrence_rules.RULES,
}


def with_rules(record: Callable[[], Tensor]) -> Tensor:
    """record() with these operations recorded by their rules; by PyTorch if the forward pass differentiates itself."""
    try:
        with forward_pass(), WrittenOut():
            return record()
    except DifferentiatedInside:
        return record()


class WrittenOut(TorchFunctionMode):
    """Records operations that have a rule by it."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = RULES.get(func)
        recorded = None if rule is None else rule(*args, **kwargs)
        return func(*args, **kwargs) if recorded is None else recorded
