"""What no study file may hold is refused before its meaning is asked, from the file and from `--set` alike."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Any

import pytest
from support.tiny_study import tiny

from hfbench.config.raw_values import DEEPEST, check_key, check_raw
from hfbench.errors import ConfigError


def nested(depth: int, innermost: Any = 1) -> Any:
    return {"a": nested(depth - 1, innermost)} if depth else innermost


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"a": {"b": [1, 2**63]}}, r"^a\.b: must be a whole number of 64 bits, below 2\^63, but got 92"),
        ({"a": -(2**64)}, r"^a: must be a whole number of 64 bits"),
        ({"a": 10**5000}, r"but got a whole number of 5000 digits\.$"),
        ({"a": {"x" * 65: 1}}, r"^a: a key must be 1 to 64 printable characters, but got 'xxx"),
        ({"\x1b[2J": 1}, r"^a key must be 1 to 64 printable characters, but got '\\x1b\[2J'"),
        ({"a": {"": 1}}, r"^a: a key must be 1 to 64 printable"),
        (nested(600), r"^a(\.a)+: must be at most 12 tables and lists in one another"),
        ({"a": {"b": [datetime(2026, 1, 2, 3)]}}, r"^a\.b: must not be a date or a time, but got 2026-01-02 03:00:00:"),
        ({"a": date(2026, 1, 2)}, r"^a: must not be a date or a time, but got 2026-01-02: write it in quotes"),
        ({"a": time(3, 4)}, r"^a: must not be a date or a time, but got 03:04:00"),
        ({"a": [[[[[[[[[[[[[1]]]]]]]]]]]]]}, r"^a: must be at most 12 tables and lists"),
    ],
)  # fmt: skip
def test_what_no_study_needs_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_raw(raw)
    assert len(str(caught.value)) < 400


def test_what_lies_at_the_bounds_is_taken() -> None:
    check_raw({"x" * 64: [2**63 - 1, -(2**63 - 1), True, "text" * 10**5], "deep": nested(DEEPEST - 1, {"a": 1})})
    check_key("naïve", "here")


@pytest.mark.parametrize("path", ["x" * 65, "study." + "y" * 10**5, "study.\x07"])
def test_keys_of_set_are_bounded_too(tmp_path, path):
    with pytest.raises(ConfigError, match="--set: a key must be 1 to 64 printable characters") as caught:
        tiny_with(tmp_path, f"{path}=1")
    assert len(str(caught.value)) < 400


def tiny_with(folder, assignment):
    from hfbench.config.load import load_study

    return load_study(tiny(folder).source, overrides=[assignment])


@pytest.mark.parametrize(("value", "message"), [("18446744073709551616", "64 bits"), ("9" * 5000, "whole number")])
def test_values_of_set_are_bounded_too(tmp_path, value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        tiny_with(tmp_path, f"study.seeds={value}")
    assert len(str(caught.value)) < 400
