"""Operations of a computation, the memory that they read, and those at which the host waits for a GPU."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

WAITING = frozenset(
    ("tolist", "item", "numpy", "cpu", "equal", "allclose", "nonzero", "unique")
    + ("__bool__", "__float__", "__int__", "__index__", "__contains__", "__array__")
)


class Operations(TorchFunctionMode):
    """`with Operations(given) as made:` lists operations in `made.names`, with the shapes of their results.

    `made.memory` are the addresses of the tensors that they use, in order, without those given and those that the
    operations themselves make. `made.changed()` are the shapes of such tensors that an operation changed in place.
    """

    def __init__(self, given: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.names: list[str] = []
        self.waits: list[str] = []
        self.memory: list[int] = []
        self._own = {_address(tensor): tensor for tensor in given}  # kept, so that no address is used twice
        self._kept: dict[int, tuple[Tensor, int]] = {}

    def changed(self) -> list[str]:
        return [f"{tuple(tensor.shape)}" for tensor, version in self._kept.values() if tensor._version != version]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", str(func))
        used = list(_tensors((args, kwargs or {})))
        for tensor in used:
            if _address(tensor) not in self._own:
                self.memory.append(_address(tensor))
                self._kept.setdefault(_address(tensor), (tensor, tensor._version))
        returned = func(*args, **(kwargs or {}))
        for tensor in _tensors(returned):
            if _address(tensor) not in self._kept:
                self._own[_address(tensor)] = tensor
        if name in WAITING:
            self.waits.append(name)
        if name != "__get__":  # an attribute, such as a shape
            self.names.append(f"{name} {tuple(returned.shape)}" if isinstance(returned, Tensor) else name)
        return returned


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _tensors(held: Any) -> Iterator[Tensor]:
    """The tensors in tuples, lists and dictionaries, however deep."""
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict):
        yield from _tensors(list(held.values()))
    elif isinstance(held, list | tuple):
        for inner in held:
            yield from _tensors(inner)
