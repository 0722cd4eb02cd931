"""Hyper-parameters: what a declaration promises is what construction enforces, whoever constructs."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfbench.errors import ConfigError, UnknownPartError
from hfbench.parts.hyperparameters import (
    Choice,
    Integers,
    Linear,
    Log,
    Within,
    build_part,
    check_defaults,
    first_line,
    hyperparameters,
    located,
    part,
    settings_of,
)


@part
class Sample:
    """A part with a field of every kind.

    More about it.
    """

    kind: ClassVar[str] = "sample"
    rate: Annotated[float, Log(1e-4, 1.0), Within("(0, 1]"), "how fast"] = 0.5
    steps: Annotated[int, Integers(1, 9), Within("[1, inf)"), "how often"] = 3
    mode: Annotated[str, Choice("slow", "fast"), "how"] = "slow"
    cap: Annotated[float | None, Within("(0, inf)"), "at most"] = None
    flag: bool = False
    units: Annotated[Sequence[int], "layers"] = (2, 1)
    law: Literal["a", "b"] = "a"


@part
class Needy:
    """Has a field without default."""

    size: Annotated[int, Within("[1, inf)"), "how many"]


@part
class Ordered:
    """Low before high."""

    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.low >= self.high:
            raise ConfigError(f"`low < high` must hold, but got low={self.low}, high={self.high}.")


@part
class Derived(Ordered):
    """Inherits fields and check."""

    extra: int = 0


def test_declaration_is_read_from_the_fields() -> None:
    rate, steps, mode, *_ = hyperparameters(Sample)
    assert (rate.name, rate.default, rate.search, rate.meaning) == ("rate", 0.5, Log(1e-4, 1.0), "how fast")
    assert (steps.allowed, mode.allowed) == ("a whole number in [1, inf)", "'slow' or 'fast'")
    assert "kind" not in {one.name for one in hyperparameters(Sample)}
    assert [one.required for one in hyperparameters(Needy)] == [True]
    assert first_line(Sample) == "A part with a field of every kind."


def test_a_parts_own_check_may_name_a_setting() -> None:
    @part
    class Even:
        """Even."""

        size: int = 2

        def __post_init__(self) -> None:
            if self.size % 2:
                raise ConfigError(f"size: must be even, but got {self.size}.")

    with pytest.raises(ConfigError, match=r"^e\.size: must be even, but got 3\.$"):
        build_part(Even, {"size": 3}, "e")
    with pytest.raises(ConfigError, match=r"^size: must be even, but got 3\.$"):
        build_part(Even, {"size": 3})


def test_a_part_without_docstring_has_no_summary() -> None:
    @part
    class Silent:
        size: int = 1

    assert Silent.__doc__ is None
    assert first_line(Silent) == ""


def test_a_part_without_settings_says_so() -> None:
    @part
    class Bare:
        """Nothing to set."""

    with pytest.raises(ConfigError, match=r"^b\.size: unknown key; it has no hyper-parameters\.$"):
        build_part(Bare, {"size": 1}, "b")


def test_parts_are_frozen_and_keyword_only() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample().rate = 0.1  # type: ignore[misc]
    with pytest.raises(TypeError):
        Sample(0.1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.0}, r"s\.rate: must lie in \(0, 1\], but got 0\.0"),
        ({"rate": math.nan}, r"s\.rate: must lie in"),
        ({"rate": "fast"}, r"s\.rate: must be a number, but got 'fast'"),
        ({"rate": True}, r"s\.rate: must be a number, but got True"),
        ({"steps": 2.0}, r"s\.steps: must be a whole number, but got 2\.0"),
        ({"steps": False}, r"s\.steps: must be a whole number"),
        ({"mode": "fsat"}, r"s\.mode: must be one of 'slow', 'fast', but got 'fsat' \(did you mean 'fast'\?\)"),
        ({"cap": 10**400}, r"s\.cap: must be a whole number of 64 bits, below 2\^63, but got 1000"),
        ({"cap": "x"}, r"s\.cap: must be a number or nothing"),
        ({"flag": 1}, r"s\.flag: must be true or false, but got 1"),
        ({"units": "21"}, r"s\.units: must be a list, but got '21'"),
        ({"law": "c"}, r"s\.law: must be one of 'a', 'b', but got 'c'"),
        ({"ratio": 1}, r"s\.ratio: unknown key \(did you mean 'rate'\?\); known: rate, steps, mode"),
    ],
)
def test_bad_settings_are_refused_with_their_key_path(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_part(Sample, settings, "s")


def test_missing_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"p\.size: must be given \(how many\)"):
        build_part(Needy, {}, "p")


def test_construction_in_python_is_checked_too() -> None:
    with pytest.raises(ConfigError, match="rate: must lie in"):
        Sample(rate=2.0)


def test_numbers_of_other_libraries_are_numbers() -> None:
    given = {"rate": np.float32(0.5), "steps": np.int64(2), "cap": torch.tensor(3), "flag": np.bool_(True)}
    settings = settings_of(Sample(**given, units=(np.int64(3), 1)))
    assert settings == {"rate": 0.5, "steps": 2, "mode": "slow", "cap": 3.0, "flag": True, "units": (3, 1), "law": "a"}
    kinds = {name: type(settings[name]) for name in given}
    assert kinds == {"rate": float, "steps": int, "cap": float, "flag": bool}
    assert {type(width) for width in settings["units"]} == {int}
    with pytest.raises(ConfigError, match="steps: must be a whole number, but got 2.0"):
        Sample(steps=np.float32(2.0))


def test_own_check_of_a_part_runs_and_is_inherited() -> None:
    for cls in (Ordered, Derived):
        with pytest.raises(ConfigError, match=r"^o: `low < high` must hold, but got low=2\.0, high=1\.0"):
            build_part(cls, {"low": 2}, "o")


@given(
    rate=st.floats(1e-9, 1.0),
    steps=st.integers(1, 2**63 - 1),
    cap=st.none() | st.integers(1, 10**9) | st.floats(1e-9, 1e300),
)
def test_settings_survive_a_round_trip(rate: float, steps: int, cap: float | None) -> None:
    built = build_part(Sample, {"rate": rate, "steps": steps, "cap": cap})
    settings = settings_of(built)
    assert build_part(Sample, settings) == built
    assert settings["cap"] is None or type(settings["cap"]) is float
    assert set(settings) == {one.name for one in hyperparameters(Sample)}


@given(value=st.integers() | st.floats() | st.text(max_size=3) | st.booleans() | st.none() | st.lists(st.integers()))
def test_any_value_is_either_within_range_or_a_config_error(value: object) -> None:
    try:
        rate = build_part(Sample, {"rate": value}).rate
    except ConfigError as error:
        assert str(error).startswith("rate: must")  # noqa: PT017
    else:
        assert type(rate) is float
        assert 0 < rate <= 1


@given(
    low=st.integers(-9, 9),
    width=st.integers(1, 9),
    value=st.floats(-20, 20) | st.integers(-20, 20),
    low_open=st.booleans(),
    high_open=st.booleans(),
)
def test_intervals_are_what_their_brackets_say(
    low: int, width: int, value: float, low_open: bool, high_open: bool
) -> None:
    high = low + width
    within = Within(f"{'(' if low_open else '['}{low}, {high}{')' if high_open else ']'}")
    ends = {low: not low_open, high: not high_open}
    assert (value in within) == ends.get(value, low < value < high)


@pytest.mark.parametrize(("value", "lies"), [(0.0, False), (1.0, True), (1.25, False), (2, True), (math.inf, False)])
def test_several_intervals_are_joined(value: float, lies: bool) -> None:
    assert (value in Within("(0, 1] or [2, inf)")) is lies


@pytest.mark.parametrize("interval", ["(0, 1] or", "(0, 1] or (3, 2)", "0, 1", "(1, 0)", "(0)", "(a, b)", "[0, 1"])
def test_malformed_intervals_are_refused(interval: str) -> None:
    with pytest.raises(ConfigError, match="an interval must be written like"):
        Within(interval)


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: Log(0.0, 1.0), "0 < low < high"),
        (lambda: Log(1.0, math.inf), "0 < low < high` must hold, both finite"),
        (lambda: Linear(1.0, 1.0), "low < high"),
        (lambda: Linear(-math.inf, 1.0), "low < high` must hold, both finite"),
        (lambda: Linear(math.nan, 1.0), "low < high` must hold, both finite"),
        (lambda: Integers(3, 2), "low < high"),
        (lambda: Integers(0, 9, log=True), "low >= 1"),
        (lambda: Choice("one"), "at least two values"),
    ],
)
def test_search_ranges_validate_themselves(make, rule: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match=rule):
        make()


def test_located_prefixes_and_keeps_type_and_cause() -> None:
    cause = ImportError("gone")
    with pytest.raises(UnknownPartError, match=r"^file: key: no such part$") as caught, located("file"), located("key"):
        raise UnknownPartError("no such part") from cause
    assert caught.value.__cause__ is cause


CIRCLE: dict[str, Any] = {}
CIRCLE["again"] = CIRCLE


HELD_BY_NONE = {
    "object": object(), "bytes": b"x", "key": {(1, 2): 3}, "circle": CIRCLE, "path": Path("x"), "in a list": [object()]
}  # fmt: skip


@pytest.mark.parametrize("value", HELD_BY_NONE.values(), ids=HELD_BY_NONE)
def test_what_no_study_file_can_hold_is_neither_default_nor_choice(value: Any) -> None:
    """It would be recorded, shown, and written into the schema."""

    @part
    class Default:
        a: Any = field(default_factory=lambda: value)

    @part
    class Choices:
        a: Annotated[Any, Choice("x", value)] = "x"

    for made, kind in ((Default, "default"), (Choices, "choices")):
        with pytest.raises(ConfigError, match=f"^the {kind} of a: must be texts, numbers, true, false, or lists"):
            check_defaults(made)
