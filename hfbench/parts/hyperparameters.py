"""Hyper-parameters: declared once, on the part's frozen dataclass, and read from there everywhere.

    @part
    class RelativeProgress:
        '''One line that describes the part.'''

        epsilon: Annotated[float, Log(1e-5, 1e-2), Within("(0, 1)"), "least relative gain per step"] = 5e-4

The annotation gives the search range (`Log`, `Linear`, `Integers`, `Choice`), the allowed values (`Within`, an
interval; `Choice` allows its own values only) and the meaning in one line. `@part` makes the class a frozen
keyword-only dataclass that raises ConfigError for values of a wrong type or out of range.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass
from functools import cache
from keyword import iskeyword
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from hfbench.errors import ConfigError, HfbenchError
from hfbench.messages import did_you_mean, quoted
from hfbench.parts import plugin_errors
from hfbench.setting_checks import DEEPEST, MOST_WHOLE, as_python

T = TypeVar("T")


@dataclass(frozen=True)
class Log:
    """Search log-uniformly between low and high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high < math.inf:
            raise ConfigError(f"`0 < low < high` must hold, both finite, but got low={self.low}, high={self.high}.")

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}, log"


@dataclass(frozen=True)
class Linear:
    """Search uniformly between low and high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not -math.inf < self.low < self.high < math.inf:
            raise ConfigError(f"`low < high` must hold, both finite, but got low={self.low}, high={self.high}.")

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Integers:
    """Search whole numbers from low to high, both included."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(f"`low < high` must hold, but got low={self.low}, high={self.high}.")
        if self.log and self.low < 1:
            raise ConfigError(f"`low >= 1` must hold on a log scale, but got low={self.low}.")

    def __str__(self) -> str:
        return f"{self.low} to {self.high}{', log' if self.log else ''}"


class Choice:
    """Search over, and allow only, the values given."""

    def __init__(self, *values: object) -> None:
        if len(values) < 2:
            raise ConfigError(f"a choice needs at least two values, but got {values}.")
        self.values = values

    def __repr__(self) -> str:
        return f"Choice{self.values}"

    def __str__(self) -> str:
        return "any of them"


Search = Log | Linear | Integers | Choice


class Within:
    """The allowed values, as an interval in the usual notation: `Within("(0, 1]")`, `Within("[0, inf)")`.

    Several are joined by "or": `Within("(0, 1] or [2, inf)")`.
    """

    def __init__(self, intervals: str) -> None:
        self.intervals = [_Interval(interval) for interval in intervals.split(" or ")]
        self.text = intervals

    def __contains__(self, value: float) -> bool:
        return any(value in interval for interval in self.intervals)

    def holds_between(self, low: float, high: float) -> bool:
        """True if all numbers from low to high are allowed: both ends lie in one interval."""
        return any(low in interval and high in interval for interval in self.intervals)

    def __repr__(self) -> str:
        return f"Within({self.text!r})"


class _Interval:
    """One interval of `Within`."""

    def __init__(self, interval: str) -> None:
        parts = re.fullmatch(r"([(\[])([^,]+),([^,]+)([)\]])", interval)
        try:
            ends = [float(end) for end in parts.group(2, 3)] if parts else []
        except ValueError:
            ends = []
        if parts is None or not ends or not ends[0] < ends[1]:
            raise ConfigError(
                f"an interval must be written like `(0, 1]`, low before high, but got {quoted(interval)}."
            )
        self.low, self.high = ends
        self.low_open, self.high_open = parts[1] == "(", parts[4] == ")"

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below


@dataclass(frozen=True)
class Hyperparameter:
    """One field of a part: name, type, default, allowed values, search range and meaning.

    The field of a name that Python keeps for itself, such as `class`, ends with an underscore.
    """

    name: str
    type: Any
    default: Any
    search: Search | None
    within: Within | None
    meaning: str

    @property
    def required(self) -> bool:
        return self.default is MISSING

    @property
    def attribute(self) -> str:
        """The field that holds it."""
        return f"{self.name}_" if iskeyword(self.name) else self.name

    @property
    def allowed(self) -> str:
        """The values allowed, in words."""
        if isinstance(self.search, Choice):
            return " or ".join(repr(option) for option in self.search.values)
        words = _type_name(self.type)
        return words if self.within is None else words.replace("number", f"number in {self.within.text}", 1)


def hyperparameters(part: type) -> tuple[Hyperparameter, ...]:
    """The hyper-parameters a part declares, in the order of its fields."""
    key: Hashable = part
    return _hyperparameters(key)


@cache
def _hyperparameters(part: Any) -> tuple[Hyperparameter, ...]:
    hints = get_type_hints(part, include_extras=True)
    return tuple(_read(field, hints[field.name]) for field in dataclasses.fields(part) if field.init)


def _read(field: dataclasses.Field[Any], hint: Any) -> Hyperparameter:
    declared = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    notes = declared[1:]
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return Hyperparameter(
        name=field.name.removesuffix("_") if iskeyword(field.name.removesuffix("_")) else field.name,
        type=declared[0],
        default=default,
        search=next((note for note in notes if isinstance(note, Log | Linear | Integers | Choice)), None),
        within=next((note for note in notes if isinstance(note, Within)), None),
        meaning=next((note for note in notes if isinstance(note, str)), ""),
    )


@dataclass_transform(frozen_default=True, kw_only_default=True)
def part(cls: type[T]) -> type[T]:
    """Class decorator: makes a frozen keyword-only dataclass that checks its fields against their declarations."""
    own_check = getattr(cls, "__post_init__", None)  # its own, or the one of a part it derives from

    def __post_init__(self: Any) -> None:
        for declared in hyperparameters(type(self)):
            object.__setattr__(self, declared.attribute, check_value(declared, getattr(self, declared.attribute)))
        if own_check is not None:
            own_check(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    doc = cls.__doc__
    made = dataclass(frozen=True, kw_only=True)(cls)
    made.__doc__ = doc  # dataclass makes one up where there is none: the signature
    return made


def check_defaults(part: type) -> None:
    """Raises ConfigError, which names the hyper-parameter, if a default has another type or range than declared.

    Defaults and choices are recorded, so they must be what a study file can hold.
    """
    for hyperparameter in hyperparameters(part):
        choices = hyperparameter.search.values if isinstance(hyperparameter.search, Choice) else ()
        for kind, value in (("default", hyperparameter.default), *(("choices", value) for value in choices)):
            if not (hyperparameter.required and kind == "default") and not _is_plain(value):
                raise ConfigError(
                    f"the {kind} of {hyperparameter.name}: must be texts, numbers, true, false, or lists and tables of "
                    f"these, but got {quoted(value)}."
                )
        if not hyperparameter.required:
            check_value(hyperparameter, hyperparameter.default, f"the default of {hyperparameter.name}")


def _is_plain(value: Any, depth: int = 0) -> bool:
    value = as_python(value)
    if isinstance(value, list | tuple):
        return depth < DEEPEST and all(_is_plain(entry, depth + 1) for entry in value)
    if isinstance(value, dict):
        texts = all(isinstance(key, str) for key in value)
        return depth < DEEPEST and texts and all(_is_plain(entry, depth + 1) for entry in value.values())
    return isinstance(value, str | bool | int | float | NoneType)


def check_value(declared: Hyperparameter, value: Any, where: str = "") -> Any:
    """The value as its declared type; whole numbers pass for floats, and NumPy's numbers for Python's.

    Raises ConfigError, which names `where`, for a value of another type or out of range.
    """
    name, value = where or declared.name, as_python(value)
    if type(value) in (list, tuple):
        value = type(value)(map(as_python, value))
    if not _is_a(value, declared.type):
        unquote = ": write it without quotes" if _is_quoted(value, declared.type) else ""
        raise ConfigError(f"{name}: must be {_type_name(declared.type)}, but got {quoted(value)}{unquote}.")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and isinstance(value, int) and not -MOST_WHOLE <= value <= MOST_WHOLE:
        raise ConfigError(f"{name}: must be a whole number of 64 bits, below 2^63, but got {quoted(value)}.")
    if is_number and not _is_a(value, declared.type, exact=True):
        value = float(value)
    if isinstance(declared.search, Choice) and value not in declared.search.values:
        known = ", ".join(repr(option) for option in declared.search.values)
        close = did_you_mean(value, declared.search.values)
        raise ConfigError(f"{name}: must be one of {known}, but got {quoted(value)}{close}.")
    if is_number and not (math.isfinite(value) if declared.within is None else value in declared.within):
        allowed = f"lie in {declared.within.text}" if declared.within is not None else "be a finite number"
        raise ConfigError(f"{name}: must {allowed}, but got {quoted(value)}.")
    return value


def _is_a(value: Any, expected: Any, exact: bool = False) -> bool:
    """True if the value has the expected type; unless `exact`, whole numbers pass for floats."""
    if get_origin(expected) in (Union, UnionType):
        return any(_is_a(value, option, exact) for option in get_args(expected))
    if get_origin(expected) is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(expected))
    if expected is Any:
        return True
    plain = get_origin(expected) or expected
    if (plain in (int, float) and isinstance(value, bool)) or (plain is Sequence and isinstance(value, str)):
        return False
    if plain is float and not exact:
        return isinstance(value, float | int)
    return isinstance(value, plain)


def _is_quoted(value: Any, expected: Any) -> bool:
    """True for a string that is a value of the expected type between quotes, as TOML and JSON write it."""
    try:
        return isinstance(value, str) and _is_a(json.loads(value), expected)
    except ValueError:
        return False


def _type_name(expected: Any) -> str:
    if get_origin(expected) in (Union, UnionType):
        return " or ".join(_type_name(option) for option in get_args(expected))
    if get_origin(expected) is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(expected))
    plain = get_origin(expected) or expected
    words = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", NoneType: "nothing"}
    words |= {list: "a list", tuple: "a list", Sequence: "a list", dict: "a table"}
    return words.get(plain, getattr(plain, "__name__", str(plain)))


@contextmanager
def located(where: str) -> Iterator[None]:
    """Prefixes the messages of errors raised inside with their origin, a file or a key path."""
    try:
        yield
    except HfbenchError as error:
        raise (type(error)(f"{where}: {error}") if where else error) from error.__cause__


def build_part(cls: type[T], settings: Mapping[str, Any], where: str = "") -> T:
    """Constructs a part from plain settings.

    Raises ConfigError, prefixed by `where` (a key path such as `methods.hf.solver`), for an unknown key, a missing
    one, a wrong type or a value out of range, and for any exception of the part itself.
    """
    declared = {hyperparameter.name: hyperparameter for hyperparameter in hyperparameters(cls)}
    path = f"{where}." if where else ""
    for name in settings:
        if name not in declared:
            known = f"known: {', '.join(declared)}" if declared else "it has no hyper-parameters"
            raise ConfigError(f"{path}{name}: unknown key{did_you_mean(name, declared)}; {known}.")
    for name, hyperparameter in declared.items():
        if hyperparameter.required and name not in settings:
            raise ConfigError(
                f"{path}{name}: must be given ({hyperparameter.meaning or _type_name(hyperparameter.type)})."
            )
    checked = {
        declared[name].attribute: check_value(declared[name], value, path + name) for name, value in settings.items()
    }
    try:
        return cls(**checked)
    except HfbenchError as error:
        at, problem = blame(cls, where, error)
        raise type(error)(f"{at}: {problem}" if at else problem) from error.__cause__
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also SystemExit, which would end the command without a word
        said = f"{cls.__name__} must be made of its settings, but raises {plugin_errors.reason(error)}"
        raise ConfigError(f"{where}: {said}." if where else f"{said}.") from error


def blame(part: type, where: str, error: HfbenchError) -> tuple[str, str]:
    """The key path that an error of a part is about, and the problem.

    A part does not know its key path. Its message begins with the name of its setting, `size: must …`, with a key of a
    table among its settings, `settings.lr: must …`, or with none. The path is `where.size`, or `where`.
    """
    setting, _, problem = str(error).partition(": ")
    if any(setting.partition(".")[0] == hyperparameter.name for hyperparameter in hyperparameters(part)):
        return f"{where}.{setting}" if where else setting, problem
    return where, str(error)


def settings_of(instance: Any) -> dict[str, Any]:
    """The resolved hyper-parameters of a part as plain data, defaults included."""
    return {
        hyperparameter.name: getattr(instance, hyperparameter.attribute)
        for hyperparameter in hyperparameters(type(instance))
    }


def first_line(cls: type) -> str:
    """The first line of a part's docstring."""
    return (inspect.getdoc(cls) or "").partition("\n")[0]
