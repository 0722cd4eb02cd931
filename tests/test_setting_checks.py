"""Settings: Python's, NumPy's and PyTorch's numbers are one, names are among the known, and nothing else is either."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from hfbench.errors import ConfigError
from hfbench.setting_checks import as_python, has_entries, non_negative_number, one_of, whole_number


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (np.int64(3), 3), (np.float32(0.5), 0.5), (np.float64(0.5), 0.5), (np.bool_(True), True), (np.array(3), 3),
        (torch.tensor(3), 3), (torch.tensor(0.5, requires_grad=True), 0.5), (3, 3), ("3", "3"), (None, None),
    ],
)  # fmt: skip
def test_scalars_become_pythons(given: Any, plain: Any) -> None:
    assert as_python(given) == plain
    assert type(as_python(given)) is type(plain)


def test_arrays_stay_what_they_are() -> None:
    for given in (np.array([3]), torch.tensor(3, device="meta")):  # of which the second has no value
        assert as_python(given) is given


@pytest.mark.parametrize("given", [[], (), ["cg"], {"cg"}, iter(()), np.array(["cg"]), torch.ones(2)])
def test_lists_have_entries(given: Any) -> None:
    assert has_entries(given)


@pytest.mark.parametrize(
    "given", ["cg", b"cg", {"use": "cg"}, None, 3, np.array("cg"), np.array(3), torch.tensor(3, device="meta")]
)
def test_others_have_none(given: Any) -> None:
    assert not has_entries(given)


@pytest.mark.parametrize("given", [3, np.int32(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers(given: Any) -> None:
    number = whole_number(given, "chunk")
    assert (number, type(number)) == (3, int)


@pytest.mark.parametrize(
    "given", [0, -1, 5.0, np.float32(5.0), "10", True, np.bool_(True), None, [3], np.array([3]), math.nan]
)
def test_others_are_no_whole_numbers(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"chunk: must be a whole number from 1, but got "):
        whole_number(given, "chunk")


@pytest.mark.parametrize("given", [0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5)])
def test_numbers(given: Any) -> None:
    number = non_negative_number(given, "decay")
    assert (number, type(number)) == (0.5, float)
    assert non_negative_number(np.int64(2), "decay") == 2.0


@pytest.mark.parametrize("given", [-0.1, math.inf, math.nan, "0.1", None, True, [0.1], np.array([0.1]), 1j, 10**400])
def test_others_are_no_numbers(given: Any) -> None:
    with pytest.raises(ConfigError, match=r"decay: must be a number in \[0, inf\), but got "):
        non_negative_number(given, "decay")


def test_names() -> None:
    assert one_of("flat", ("structured", "flat"), "layout") == "flat"


@pytest.mark.parametrize("given", ["falt", "", None, 3, ["flat"], np.array(["flat", "flat"]), {"flat": 1}])
def test_others_are_no_names(given: Any) -> None:
    with pytest.raises(ConfigError, match="layout: must be one of structured, flat, but got "):
        one_of(given, ("structured", "flat"), "layout")
