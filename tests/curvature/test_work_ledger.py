"""The work ledger counts cases in units of one forward pass."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfbench.curvature.work_ledger import UNITS, Ledger

counts = st.lists(st.tuples(st.sampled_from(sorted(UNITS)), st.integers(0, 10**6)), max_size=20)


def test_work_of_one_gradient_and_one_product() -> None:
    ledger = Ledger()
    ledger.count("forward", 10)
    ledger.count("backward", 10)
    assert ledger.work == 10 + 20
    ledger.count("jvp", 4)
    ledger.count("vjp", 4)
    assert ledger.work == 30 + 8 + 8


def test_half_products() -> None:
    ledger = Ledger(jvp_calls=3, vjp_calls=4)
    assert ledger.products == 3.5
    assert ledger.work == 0


@given(counts=counts)
def test_work_is_the_sum_of_cases_times_units(counts: list[tuple[str, int]]) -> None:
    ledger = Ledger()
    for kind, cases in counts:
        ledger.count(kind, cases)
    assert ledger.work == sum(UNITS[kind] * cases for kind, cases in counts)


@given(counts=counts)
def test_state_survives_json(counts: list[tuple[str, int]]) -> None:
    ledger = Ledger(jvp_calls=2, vjp_calls=1)
    for kind, cases in counts:
        ledger.count(kind, cases)
    resumed = Ledger()
    resumed.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert resumed == ledger


def test_an_unknown_kind_of_pass_is_no_new_column() -> None:
    with pytest.raises(AttributeError):
        Ledger().count("sideways", 1)
