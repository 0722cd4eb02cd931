"""Checks that tables of study files share: what each refuses, by the key it stands at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hfbench.config.table_checks import check_known, checked, distinct, seeds_of, table_of, tables_of
from hfbench.errors import ConfigError
from hfbench.parts.hyperparameters import Within


def test_what_is_right_comes_back() -> None:
    assert table_of({}, "study") == {}
    assert tables_of({"methods": {"hf": {"solver": "cg"}}}, "methods") == {"hf": {"solver": "cg"}}
    assert distinct([3, 1], "seeds") == [3, 1]
    assert checked(2, float, Within("(0, inf)"), "margin") == 2.0
    check_known("hf", ["hf", "shf"], "study.baseline", "method")


def test_seeds_are_a_count_or_a_list() -> None:
    assert seeds_of(3, "seeds") == (0, 1, 2)
    assert seeds_of(2, "seeds", first=1000) == (1000, 1001)
    assert seeds_of([7, 3], "seeds") == (7, 3)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: table_of({"hf": 3}, "hf", "methods."), "methods.hf: must be a table, but got 3"),
        (lambda: tables_of({"methods": {"a b": {}}}, "methods"), "methods.a b: a name must be 1 to 64 letters"),
        (lambda: tables_of({"methods": {"a": 3}}, "methods"), "methods.a: must be a table"),
        (lambda: check_known("hg", ["hf"], "study.baseline", "method"), "study.baseline: must name a method of the"),
        (lambda: distinct([], "seeds"), "seeds: must not be empty"),
        (lambda: distinct([1, 2, 1], "seeds"), "seeds: must not repeat a value, but 1 occurs 2 times"),
        (lambda: checked(0.0, float, Within("(0, inf)"), "margin"), r"margin: must lie in \(0, inf\)"),
        (lambda: seeds_of(0, "seeds"), r"seeds: must lie in \[1, 10000\]"),
        (lambda: seeds_of([1, -1], "seeds"), r"seeds\[1\]: must lie in \[0, inf\)"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(ask: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + message):
        ask()
