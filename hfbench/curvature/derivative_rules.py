"""Switch of a recorded pass to operations whose derivatives are written out (`hfbench.curvature.linear_maps`).

Inside, a call of one of these operations by a module or a function gives the value that PyTorch computes, bit for bit,
and a graph of its rule. All other operations, those called by PyTorch's own code and those whose graph something else
rewrites (`torch.func`, checkpoints) are recorded as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from hfbench.curvature import convolution_rules, normalisation_rules, pooling_rules, recurrence_rules

RULES: Mapping[Any, Callable[..., Tensor | None]] = {
    **convolution_rules.RULES,
    **normalisation_rules.RULES,
    **pooling_rules.RULES,
    **recurrence_rules.RULES,
}


class WrittenOut(TorchFunctionMode):
    """Records operations that have a rule by it."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        rule = RULES.get(func)
        made = None if rule is None else rule(*args, **kwargs)
        return func(*args, **kwargs) if made is None else made
