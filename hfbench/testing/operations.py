"""Operations of a computation, and those at which the host waits for a GPU."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

WAITING = frozenset(
    ("tolist", "item", "numpy", "cpu", "equal", "allclose", "nonzero", "unique")
    + ("__bool__", "__float__", "__int__", "__index__", "__contains__", "__array__")
)


class Operations(TorchFunctionMode):
    """`with Operations() as made:` lists operations in `made.names`, with the shapes of their results."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.waits: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        returned = func(*args, **(kwargs or {}))
        if name in WAITING:
            self.waits.append(name)
        if name != "__get__":  # an attribute, such as a shape
            self.names.append(f"{name} {tuple(returned.shape)}" if isinstance(returned, Tensor) else name)
        return returned
