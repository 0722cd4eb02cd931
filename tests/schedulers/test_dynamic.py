"""Growing batches: both tests by hand, the limits on growth, and resuming."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Evidence
from hfbench.schedulers.dynamic import Dynamic, DynamicSchedule


def begin(total: int = 1000, **settings: object) -> DynamicSchedule:
    """theta = 1 and 100 cases at first; the validation test never fires unless a test lets it."""
    chosen = {"start": 100.0, "theta": 1.0, "tolerance": 0.0, "max_growth": 100.0, "correction": False} | settings
    return Dynamic(**chosen).begin(total)


def evidence(
    variance: float = 0.0, gradient_norm: float = 1.0, validation: float = 0.0, iteration: int = 1
) -> Evidence:
    return Evidence(iteration, 0, gradient_norm, variance_l1=variance, validation_objective=validation)


def passes(schedule: DynamicSchedule, n: int, variance: float, gradient_norm: float) -> bool:
    """Byrd's test on n of N cases."""
    N = schedule.total
    correction = (N - n) / (N - 1) if schedule.rules.correction else 1.0
    return variance / n * correction <= (schedule.rules.theta * gradient_norm) ** 2


def test_it_starts_with_a_fraction_or_a_number() -> None:
    assert Dynamic(start=0.05).begin(1000).plan == BatchPlan(50, 50, "random", "start")
    assert Dynamic(start=64.0, curvature=0.25, order="cyclic").begin(1000).plan == BatchPlan(64, 16, "cyclic", "start")
    assert Dynamic(start=0.01).begin(30).plan.gradient == 2, "one case has no variance"


# ---------------------------------------------------------------- variance


def test_enough_cases_keep_their_number() -> None:
    schedule = begin()
    assert schedule.next(evidence(variance=100.0)) == BatchPlan(100, 100, "random", "keep")


def test_too_few_cases_grow_to_what_the_formula_says() -> None:
    """‖Var‖₁/(theta²‖∇f‖²), rounded up."""
    assert begin().next(evidence(variance=250.5)) == BatchPlan(251, 251, "random", "variance")
    assert begin(theta=0.5).next(evidence(variance=100.0)).gradient == 400
    assert begin().next(evidence(variance=1000.0, gradient_norm=2.0)).gradient == 250


def test_correction_knows_that_all_cases_have_no_noise() -> None:
    """n = V N/(A (N - 1) + V) solves V/n·(N - n)/(N - 1) = A; here V = 999, A = 1: n = N/2."""
    assert begin(correction=True).next(evidence(variance=999.0)).gradient == 500
    assert begin(correction=False).next(evidence(variance=999.0)).gradient == 999
    assert begin(correction=True).next(evidence(variance=110.0)).gradient == 100, "passes with, fails without"
    assert begin(correction=False).next(evidence(variance=110.0)).gradient == 110


def test_all_cases_have_no_noise_unless_a_study_says_otherwise() -> None:
    """110/100·900/999 <= 1, while 110/100 is not."""
    step = evidence(variance=110.0)
    assert Dynamic(start=100.0, theta=1.0, tolerance=0.0).begin(1000).next(step).reason == "keep"
    assert Dynamic(start=1000.0).begin(1000).next(evidence(variance=1e9)).reason == "full"


def test_without_a_gradient_everything_is_needed() -> None:
    for correction in (True, False):
        assert begin(correction=correction).next(evidence(variance=1.0, gradient_norm=0.0)).gradient == 1000
        assert begin(correction=correction).next(evidence(variance=0.0, gradient_norm=0.0)).gradient == 100


@given(
    st.integers(2, 5000),
    st.floats(0.001, 1.0),
    st.floats(1e-3, 1e6),
    st.floats(1e-3, 1e2),
    st.booleans(),
)
def test_the_next_batch_is_the_smallest_that_passes(
    total: int, start: float, variance: float, gradient_norm: float, correction: bool
) -> None:
    schedule = begin(total, start=start, correction=correction, max_growth=1e9)
    before = schedule.plan.gradient
    after = schedule.next(evidence(variance, gradient_norm)).gradient
    if passes(schedule, before, variance, gradient_norm):
        assert after == before
    else:
        assert after == total or passes(schedule, after, variance * (1 - 1e-9), gradient_norm)
        assert not passes(schedule, after - 1, variance * (1 + 1e-9), gradient_norm)


# ---------------------------------------------------------------- validation


def run(schedule: DynamicSchedule, validations: list[float]) -> list[tuple[int, str]]:
    plans = [schedule.next(evidence(validation=value)) for value in validations]
    return [(plan.gradient, plan.reason) for plan in plans]


def test_a_stall_over_the_window_grows_the_batch() -> None:
    """The first decrease over two steps is known after three values; afterwards the window begins anew."""
    schedule = begin(tolerance=0.1, window=2, growth=1.5)
    keep, grown = (100, "keep"), (150, "validation")
    assert run(schedule, [1.0, 0.99, 0.98]) == [keep, keep, grown]
    assert run(schedule, [0.98, 0.97, 0.96]) == [(150, "keep"), (150, "keep"), (225, "validation")]


def test_enough_decrease_over_the_window_keeps_it() -> None:
    schedule = begin(tolerance=0.1, window=2)
    assert {reason for _, reason in run(schedule, [0.9**i for i in range(20)])} == {"keep"}
    assert run(schedule, [0.9**20, 0.9**20, 0.9**20])[-1] == (150, "validation")


@pytest.mark.parametrize("last", [0.91, 1.2, math.nan])
def test_rises_and_nan_are_stalls(last: float) -> None:
    assert run(begin(tolerance=0.1, window=1), [1.0, last])[-1] == (150, "validation")


def test_window_of_one_compares_neighbours() -> None:
    assert run(begin(tolerance=0.1, window=1), [1.0, 0.89, 0.85])[-2:] == [(100, "keep"), (150, "validation")]


# ---------------------------------------------------------------- both, and limits


def test_reasons_name_every_condition_that_fired() -> None:
    schedule = begin(tolerance=0.1, window=1)
    schedule.next(evidence(validation=1.0))
    plan = schedule.next(evidence(variance=130.0, validation=1.0))
    assert plan == BatchPlan(150, 150, "random", "variance+validation")
    assert schedule.plan == plan, "the plan of the coming step says why"


def test_growth_per_step_is_limited() -> None:
    schedule = begin(max_growth=2.5)
    assert [schedule.next(evidence(variance=1e6)).gradient for _ in range(4)] == [250, 625, 1000, 1000]
    assert schedule.plan.reason == "full"


def test_small_batches_are_not_stuck_below_the_limit() -> None:
    schedule = begin(start=2.0, max_growth=1.2)
    assert [schedule.next(evidence(variance=1e6)).gradient for _ in range(5)] == [3, 4, 5, 6, 7]


def test_the_curvature_grows_along() -> None:
    schedule = begin(curvature=0.25)
    assert schedule.next(evidence(variance=402.0)).curvature == 100


VALIDATION = st.floats(-10, 10) | st.just(math.nan)
STEPS = st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e3), VALIDATION), max_size=25)
SETTINGS = st.fixed_dictionaries(
    {
        "start": st.floats(0.01, 1.0),
        "theta": st.floats(0.1, 1.5),
        "tolerance": st.floats(0, 0.5),
        "window": st.integers(1, 5),
        "growth": st.floats(1.1, 3),
        "max_growth": st.floats(1.01, 10),
        "correction": st.booleans(),
        "curvature": st.floats(0.1, 1.0),
    }
)


@given(st.integers(2, 10**5), SETTINGS, STEPS)
def test_batches_never_shrink_and_keep_their_bounds(total: int, settings: dict, steps: list) -> None:
    schedule = Dynamic(**settings).begin(total)
    for i, (variance, gradient_norm, validation) in enumerate(steps):
        before = schedule.plan
        plan = schedule.next(evidence(variance, gradient_norm, validation, i + 1))
        assert before.gradient <= plan.gradient <= total
        assert plan.gradient <= max(before.gradient + 1, before.gradient * settings["max_growth"])
        assert 1 <= plan.curvature <= plan.gradient
        assert (plan.gradient > before.gradient) == (plan.reason in ("variance", "validation", "variance+validation"))
        assert (plan.reason == "full") == (plan.gradient == before.gradient == total)
        assert plan == schedule.plan


@given(SETTINGS, STEPS, st.integers(0, 25))
def test_resumed_through_json_it_goes_on_identically(settings: dict, steps: list, cut: int) -> None:
    schedule = Dynamic(**settings).begin(5000)
    resumed = Dynamic(**settings).begin(5000)
    for i, step in enumerate(steps):
        if i == min(cut, len(steps) - 1):
            resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
            assert resumed.plan == schedule.plan
        plan = schedule.next(evidence(*step, i + 1))
        if i >= min(cut, len(steps) - 1):
            assert resumed.next(evidence(*step, i + 1)) == plan


def test_a_saved_state_does_not_move_with_the_schedule() -> None:
    schedule = begin()
    state = schedule.state_dict()
    schedule.next(evidence(variance=1e6, validation=1.0))
    assert state == {"batch": 100, "reason": "start", "validation": []}


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="at least two training cases"):
        Dynamic().begin(1)
    with pytest.raises(ConfigError, match="^start: "):
        Dynamic(start=31.0).begin(30)
    with pytest.raises(ConfigError, match="variance"):
        begin().next(Evidence(1, 100, 1.0, validation_objective=1.0))
    with pytest.raises(ConfigError, match="validation objective"):
        begin().next(Evidence(1, 100, 1.0, variance_l1=1.0))
