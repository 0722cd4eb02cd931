"""The inner product scheduler: both tests by hand and from cases' gradients, the limits on growth, and resuming."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Evidence
from hfbench.schedulers.inner_product import InnerProduct, InnerProductSchedule


def begin(total: int = 1000, **settings: object) -> InnerProductSchedule:
    """100 cases at first, and theta = nu = 1."""
    chosen = {"start": 100.0, "theta": 1.0, "nu": 1.0, "max_growth": 100.0, "correction": False} | settings
    return InnerProduct(**chosen).begin(total)


def evidence(along: float = 0.0, across: float = 0.0, norm: float = 1.0, iteration: int = 1) -> Evidence:
    """`along` and `across` are the two tests' variances, for a gradient of that norm."""
    l1 = across + (along / norm**2 if norm else 0.0)
    return Evidence(iteration, 0, norm, variance_l1=l1, variance_inner=along)


def test_it_starts_with_a_fraction_or_a_number() -> None:
    assert InnerProduct(start=0.05).begin(1000).plan == BatchPlan(50, 50, "random", "start")
    part = InnerProduct(start=64.0, curvature=0.25, order="cyclic")
    assert part.begin(1000).plan == BatchPlan(64, 16, "cyclic", "start")
    assert InnerProduct(start=0.01).begin(30).plan.gradient == 2, "one case has no variance"


def test_batches_that_pass_keep_their_size() -> None:
    assert begin().next(evidence(along=100.0, across=99.9)) == BatchPlan(100, 100, "random", "keep")


def test_noise_along_the_gradient_is_allowed_theta_squared_times_its_fourth_power() -> None:
    assert begin().next(evidence(along=250.5)) == BatchPlan(251, 251, "random", "inner-product")
    assert begin(theta=0.5).next(evidence(along=100.0)).gradient == 400
    assert begin().next(evidence(along=8000.0, norm=2.0)).gradient == 500


def test_noise_across_the_gradient_is_allowed_nu_squared_times_its_square() -> None:
    assert begin().next(evidence(across=250.5)) == BatchPlan(251, 251, "random", "orthogonality")
    assert begin(nu=0.5).next(evidence(across=100.0)).gradient == 400
    assert begin().next(evidence(across=2000.0, norm=2.0)).gradient == 500


def test_the_larger_batch_counts_where_both_fail() -> None:
    plan = begin().next(evidence(along=150.0, across=300.0))
    assert plan == BatchPlan(300, 300, "random", "inner-product+orthogonality")


def test_the_two_variances_are_those_of_the_cases() -> None:
    """The paper's two tests computed from gradients, case by case."""
    generator = torch.Generator().manual_seed(0)
    gradients = torch.randn(100, 7, generator=generator, dtype=torch.float64) + 0.4
    g = gradients.mean(0)
    norm2 = float(g.dot(g))
    along = float((gradients @ g).var(unbiased=True))
    across = float((gradients - torch.outer(gradients @ g / norm2, g)).var(0, unbiased=True).sum())
    wanted = {"inner-product": along / (0.05**2 * norm2**2), "orthogonality": across / (0.1**2 * norm2)}
    step = Evidence(1, 100, norm2**0.5, float(gradients.var(0, unbiased=True).sum()), variance_inner=along)
    found = begin(10**6, theta=0.05, nu=0.1)._tests(step)
    assert found == {name: max(100, math.ceil(size)) for name, size in wanted.items()}
    assert min(found.values()) > 100


def test_correction_knows_that_all_cases_have_no_noise() -> None:
    """n = V N/(A (N - 1) + V) solves V/n·(N - n)/(N - 1) = A; here V = 999, A = 1: n = N/2."""
    assert begin(correction=True).next(evidence(along=999.0)).gradient == 500
    assert begin(correction=True).next(evidence(across=999.0)).gradient == 500
    assert begin(correction=True).next(evidence(along=110.0)).gradient == 100, "passes with, fails without"
    assert begin(correction=False).next(evidence(along=110.0)).gradient == 110


def test_all_cases_have_no_noise_unless_a_study_says_otherwise() -> None:
    """110/100·900/999 <= 1, while 110/100 is not."""
    for noise in ({"along": 110.0}, {"across": 110.0}):
        assert InnerProduct(start=100.0, theta=1.0, nu=1.0).begin(1000).next(evidence(**noise)).reason == "keep"


def test_without_a_gradient_everything_is_needed() -> None:
    for correction in (True, False):
        assert begin(correction=correction).next(evidence(across=1.0, norm=0.0)).gradient == 1000
        assert begin(correction=correction).next(evidence(norm=0.0)).gradient == 100


def test_rounding_below_zero_is_no_noise() -> None:
    step = Evidence(1, 100, 1.0, variance_l1=1.0, variance_inner=1.0 + 1e-9)
    assert begin().next(step).reason == "keep"


def test_growth_per_step_is_limited() -> None:
    schedule = begin(max_growth=2.5)
    assert [schedule.next(evidence(along=1e6)).gradient for _ in range(4)] == [250, 625, 1000, 1000]
    assert schedule.plan.reason == "full"
    small = begin(start=2.0, max_growth=1.2)
    assert [small.next(evidence(across=1e6)).gradient for _ in range(5)] == [3, 4, 5, 6, 7]


@given(
    st.integers(2, 5000), st.floats(0.001, 1.0), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.floats(1e-3, 1e2),
    st.booleans(),
)  # fmt: skip
def test_the_next_batch_is_the_smallest_that_passes(
    total: int, start: float, along: float, across: float, norm: float, correction: bool
) -> None:
    schedule = begin(total, start=start, theta=0.9, nu=5.84, correction=correction, max_growth=1e9)

    def passes(n: int, slack: float) -> bool:
        c = (total - n) / (total - 1) if correction else 1.0
        return along * slack * c / n <= 0.81 * norm**4 and across * slack * c / n <= 5.84**2 * norm**2

    before = schedule.plan.gradient
    after = schedule.next(evidence(along, across, norm)).gradient
    assert after == total or passes(after, 1 - 1e-6)
    assert after == before or not passes(after - 1, 1 + 1e-6)


STEPS = st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(1e-3, 1e3)), max_size=25)
SETTINGS = st.fixed_dictionaries(
    {
        "start": st.floats(0.01, 1.0),
        "theta": st.floats(0.1, 1.5),
        "nu": st.floats(0.5, 10),
        "max_growth": st.floats(1.01, 10),
        "correction": st.booleans(),
        "curvature": st.floats(0.1, 1.0),
    }
)


@given(st.integers(2, 10**5), SETTINGS, STEPS, st.integers(0, 25))
def test_bounds_and_resuming(total: int, settings: dict, steps: list, cut: int) -> None:
    schedule, resumed = (InnerProduct(**settings).begin(total) for _ in range(2))
    for i, step in enumerate(steps):
        if i == min(cut, len(steps) - 1):
            resumed.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
            assert resumed.plan == schedule.plan
        before, plan = schedule.plan, schedule.next(evidence(*step))
        assert before.gradient <= plan.gradient <= total
        assert plan.gradient <= max(before.gradient + 1, before.gradient * settings["max_growth"])
        assert 1 <= plan.curvature <= plan.gradient
        assert (plan.gradient > before.gradient) == (plan.reason not in ("start", "keep", "full"))
        assert (plan.reason == "full") == (plan.gradient == before.gradient == total)
        assert plan == schedule.plan
        if i >= min(cut, len(steps) - 1):
            assert resumed.next(evidence(*step)) == plan


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="at least two training cases"):
        InnerProduct().begin(1)
    with pytest.raises(ConfigError, match="^start: "):
        InnerProduct(start=31.0).begin(30)
    for missing in ({"variance_l1": 1.0}, {"variance_inner": 1.0}):
        with pytest.raises(ConfigError, match="needs both variances"):
            begin().next(Evidence(1, 100, 1.0, **missing))
