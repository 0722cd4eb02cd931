"""State of an optimiser as tensors and plain data, which a checkpoint can hold, and back.

Some optimisers keep objects of their own in their state, as Shampoo its preconditioners. Reading a pickled object would
run whatever the file says. So an object goes as the name of its class with its attributes, and comes back as an object
with these attributes. Its class must be of the optimiser's own package; nothing of it is called.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from torch import Tensor

from hfbench.errors import StoreError
from hfbench.parts.named_objects import loaded_class

CLASS, ATTRIBUTES = "class of an object", "its attributes"
PLAIN = (type(None), bool, int, float, str, bytes, Tensor)


def as_plain(value: Any) -> Any:
    """The value with objects as tables of their attributes."""
    if isinstance(value, Enum):
        return as_plain(value.value)
    if isinstance(value, dict):
        return {as_plain(key): as_plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set):
        kind = list if isinstance(value, list) else tuple
        return kind(map(as_plain, value))
    if isinstance(value, PLAIN) or not hasattr(value, "__dict__"):
        return value
    cls = type(value)
    return {CLASS: f"{cls.__module__}:{cls.__qualname__}", ATTRIBUTES: as_plain(vars(value))}


def as_it_was(value: Any, package: str) -> Any:
    """The value with objects back; their classes must be of this package. Raises StoreError for others."""
    if isinstance(value, dict) and value.keys() == {CLASS, ATTRIBUTES}:
        return _object(value[CLASS], as_it_was(value[ATTRIBUTES], package), package)
    if isinstance(value, dict):
        return {key: as_it_was(entry, package) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(as_it_was(entry, package) for entry in value)
    return value


def _object(name: str, attributes: dict[str, Any], package: str) -> Any:
    module, _, qualname = name.partition(":")
    cls = loaded_class(module, qualname) if module.partition(".")[0] == package else None
    if cls is None:
        raise StoreError(f"the state of an optimiser of {package} must hold objects of this package, but names {name}.")
    restored: Any = object.__new__(cls)
    vars(restored).update(attributes)
    return restored
