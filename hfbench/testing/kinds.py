"""Types of a part's answers, checked first, so that no later check fails because of a wrong type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sized
from typing import Any, NamedTuple, TypeGuard

from torch import Tensor

from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import BatchPlan, Breakdown, Split
from hfbench.testing.contract import require


class Kind(NamedTuple):
    """A requirement on a value, in words and as a test."""

    words: str
    holds: Callable[[Any], bool]


def is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def vector_like(like: Vector) -> Kind:
    """A vector of real numbers, shaped like the one given."""
    shapes = _shapes(like)
    return Kind(
        f"a Vector (hfbench.linalg.vector) of real blocks of shapes {_listed(shapes)}, which the parameters have",
        lambda v: (
            isinstance(v, Vector)
            and all(isinstance(block, Tensor) and block.is_floating_point() for block in v)
            and _shapes(v) == shapes
        ),
    )


NUMBER = Kind("a real number, int or float", is_number)
WHOLE = Kind("an int", lambda value: is_number(value) and isinstance(value, int))
METHOD = Kind("a method", callable)
NAMES = Kind(
    "a tuple of names, such as () or ('q',)",
    lambda value: isinstance(value, tuple) and all(isinstance(name, str) for name in value),
)
TENSOR = Kind("a tensor", lambda value: isinstance(value, Tensor))
BREAKDOWN = Kind("None or a Breakdown", lambda value: value is None or isinstance(value, Breakdown))
PLAN = Kind(
    "a BatchPlan (hfbench.parts.protocols) of numbers of cases",
    lambda value: isinstance(value, BatchPlan) and is_number(value.gradient) and is_number(value.curvature),
)
SPLIT = Kind(
    "a Split (hfbench.parts.protocols) of two tensors, inputs and targets",
    lambda value: isinstance(value, Split) and isinstance(value.inputs, Tensor) and isinstance(value.targets, Tensor),
)
STATE = {"k": WHOLE, "q": NUMBER, "relative_residual": NUMBER, "products": NUMBER, "breakdown": BREAKDOWN}


def require_kind(what: str, value: Any, kind: Kind, why: str) -> None:
    """Raises ContractBroken unless the value is of its kind."""
    require(kind.holds(value), f"{what} to be {kind.words}", answer_in_words(value), why)


def require_fields(what: str, answer: Any, fields: Mapping[str, Kind], why: str) -> None:
    """Raises ContractBroken, with all required fields and those that are wrong, unless the value has them."""
    wrong = [problem for name, kind in fields.items() if (problem := _problem(answer, name, kind))]
    said = answer_in_words(answer)
    require(
        not wrong,
        f"{what} to have {'; '.join(f'{name}, {kind.words}' for name, kind in fields.items())}",
        said if len(wrong) == len(fields) > 1 else f"{said}, where {' and '.join(wrong)}",
        why,
    )


def require_state(state: Any, like: Vector, monotone: tuple[str, ...]) -> None:
    """Raises ContractBroken unless this is a solver's state, with an x like the given one and the monotone fields."""
    why = "stopping rules, backtracking, damping and the trace read every state"
    require_fields("a state", state, {**STATE, "x": vector_like(like)}, why)
    named = dict.fromkeys(monotone, NUMBER)
    require_fields("a state, as `monotone` names it,", state, named, "what a method minimises is its name")


def answer_in_words(value: Any) -> str:
    """Short description of an answer, the same in every run."""
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return repr(value) if value is None else f"{value!r:.80} ({type(value).__name__})"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}, {value.dtype}"
    if isinstance(value, Vector) and all(isinstance(block, Tensor) for block in value):
        return (
            f"a Vector of blocks of shapes {_listed(_shapes(value))}, {value[0].dtype}" if value else "an empty Vector"
        )
    size = f" of length {len(value)}" if isinstance(value, Sized) and not isinstance(value, type) else ""
    called = f" {value.__name__}" if callable(value) and hasattr(value, "__name__") else ""
    return f"a {type(value).__name__}{called}{size}"


def _problem(answer: Any, name: str, kind: Kind) -> str:
    """Problem of a field, if there is one."""
    try:
        value = getattr(answer, name)
    except AttributeError as error:
        return f"{name} is missing" if error.name == name else f"{name} raises AttributeError: {error}"
    return "" if kind.holds(value) else f"{name} is {answer_in_words(value)}"


def _shapes(vector: Vector) -> list[tuple[int, ...]]:
    return [tuple(block.shape) for block in vector]


def _listed(shapes: list[tuple[int, ...]]) -> str:
    return " ".join(map(str, shapes))
