"""Each stopping rule on sequences made by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfbench.errors import ConfigError
from hfbench.parts.protocols import Stop
from hfbench.solvers.stopping import BackwardError, FixedIterations, FixedWork, RelativeProgress, Residual


def stops_at(rule: Any, **columns: list[float]) -> tuple[int | None, Stop | None]:
    """The first index at which the rule stops, and its reason."""
    test = rule.begin()
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    for i, row in enumerate(rows):
        if (reason := test(SimpleNamespace(**row))) is not None:
            return i, reason
    return None, None


def martens(qs: list[float], epsilon: float = 5e-4) -> int | None:
    """The test as published: i > k, q_i < 0 and (q_i - q_{i-k})/q_i < k·epsilon, k = max(10, ceil(0.1 i))."""
    for i, q in enumerate(qs):
        k = max(10, math.ceil(0.1 * i))
        if i > k and q < 0 and (q - qs[i - k]) / q < k * epsilon:
            return i
    return None


def test_relative_progress_waits_for_its_window() -> None:
    """A constant q < 0 has no progress at all, and is found out at the first i > 10."""
    assert stops_at(RelativeProgress(), q=[-1.0] * 40) == (11, Stop.RELATIVE_PROGRESS)
    assert stops_at(RelativeProgress(k_min=3), q=[-1.0] * 40)[0] == 4


@pytest.mark.parametrize("q", [0.0, 1.0])
def test_relative_progress_needs_a_negative_q(q: float) -> None:
    assert stops_at(RelativeProgress(), q=[q] * 60) == (None, None)


def test_relative_progress_at_its_threshold() -> None:
    """q falls linearly for 30 steps, then by a relative gain per 10 steps just above or below 10·epsilon."""
    for gain, stops in [(0.00505, False), (0.00495, True)]:
        qs = [-100.0 * (1 - gain) ** (-(i / 10)) for i in range(80)]
        assert (stops_at(RelativeProgress(), q=qs)[0] is not None) is stops


def test_the_window_grows_with_the_iterations() -> None:
    """At i = 200 the window is 20 steps: a stall of 15 steps after steady progress is forgiven, one of 20 is not."""
    steady = [-float(i) for i in range(1, 201)]
    assert stops_at(RelativeProgress(), q=[*steady, *[-200.0] * 15]) == (None, None)
    assert stops_at(RelativeProgress(), q=[*steady, *[-200.0] * 40])[0] == martens([*steady, *[-200.0] * 40])
    assert stops_at(RelativeProgress(k_fraction=0.0), q=[*steady, *[-200.0] * 15])[0] == 209


@given(st.lists(st.floats(0, 1), min_size=12, max_size=150), st.sampled_from([1e-3, 5e-4, 0.05]), st.floats(-5, 5))
def test_relative_progress_is_martens_test(gains: list[float], epsilon: float, start: float) -> None:
    qs = [start]
    for i, gain in enumerate(gains):
        qs.append(qs[-1] - gain / (1 + i) ** 2)
    assert stops_at(RelativeProgress(epsilon=epsilon), q=qs)[0] == martens(qs, epsilon)


def test_residual() -> None:
    assert stops_at(Residual(rtol=0.1), relative_residual=[1.0, 0.5, 0.2, 0.1, 0.05]) == (3, Stop.RESIDUAL)
    assert stops_at(Residual(rtol=0.1), relative_residual=[1.0, math.nan]) == (None, None)


def test_backward_error() -> None:
    assert stops_at(BackwardError(atol=0.01), backward_error=[1.0, 0.02, 0.005]) == (2, Stop.BACKWARD_ERROR)


def test_fixed_iterations() -> None:
    assert stops_at(FixedIterations(iterations=3), k=[0, 1, 2, 3, 4]) == (3, Stop.FIXED_ITERATIONS)


def test_fixed_work_counts_the_start() -> None:
    """A warm-started solver has spent a product before its first step."""
    assert stops_at(FixedWork(products=4), products=[1.0, 2.0, 3.0, 4.0]) == (3, Stop.FIXED_WORK)
    assert stops_at(FixedWork(products=4), products=[0.5, 1.5, 2.5, 3.5, 4.5]) == (4, Stop.FIXED_WORK)


def test_each_solve_begins_anew() -> None:
    rule = RelativeProgress()
    assert stops_at(rule, q=[-1.0] * 40) == stops_at(rule, q=[-1.0] * 40)


def test_every_rule_reads_only_what_it_declares() -> None:
    for rule in (RelativeProgress(), Residual(), BackwardError(), FixedIterations(), FixedWork()):
        everything = dict.fromkeys(("k", "q", "products", "relative_residual", "backward_error"), 1.0)
        declared = {name: everything[name] for name in rule.needs}
        assert rule.begin()(SimpleNamespace(**declared)) == rule.begin()(SimpleNamespace(**everything))
        for name in rule.needs:
            with pytest.raises(AttributeError):
                rule.begin()(SimpleNamespace(**{other: 1.0 for other in everything if other != name}))


@pytest.mark.parametrize(
    ("rule", "setting"),
    [
        (RelativeProgress, {"epsilon": 0.0}),
        (RelativeProgress, {"k_min": 0}),
        (Residual, {"rtol": 1.0}),
        (FixedWork, {"products": 0}),
    ],
)
def test_settings_out_of_range(rule: Any, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        rule(**setting)
