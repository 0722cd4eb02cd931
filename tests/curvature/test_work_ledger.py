"""The work ledger counts cases in units of one forward pass."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfbench.curvature.work_ledger import UNITS, Ledger, PartsLedger

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


def test_work_is_counted_by_the_units_of_the_network_at_the_time() -> None:
    ledger = Ledger()
    ledger.count("jvp", 10)
    ledger.units = UNITS | {"jvp": 3.5}
    ledger.count("jvp", 10)
    ledger.count("jvp_calls", 1)
    assert (ledger.jvp, ledger.work) == (20, 20 + 35.0)


def test_what_was_counted_is_counted_again() -> None:
    ledger = Ledger()
    ledger.units = UNITS | {"jvp": 3.5}
    ledger.count("forward", 10)
    before = ledger.state_dict()
    ledger.count("jvp", 10)
    ledger.count("jvp_calls", 1)
    ledger.add(ledger.since(before))
    assert (ledger.forward, ledger.jvp, ledger.jvp_calls, ledger.work) == (10, 20, 2, 10 + 70.0)


def test_a_state_of_before_units_is_read() -> None:
    """It has neither transposes nor the work, which was that of the convention."""
    ledger = Ledger()
    ledger.count("deltas", 1)
    ledger.load_state_dict({"forward": 10, "jvp": 4, "jvp_calls": 1})
    assert ledger == Ledger(forward=10, jvp=4, jvp_calls=1, work=18)


@given(counts=counts)
def test_state_survives_json(counts: list[tuple[str, int]]) -> None:
    ledger = Ledger(jvp_calls=2, vjp_calls=1)
    for kind, cases in counts:
        ledger.count(kind, cases)
    resumed = Ledger()
    resumed.load_state_dict(json.loads(json.dumps(ledger.state_dict())))
    assert resumed == ledger


def test_an_unknown_kind_of_pass_is_no_new_column() -> None:
    for kind, cases in (("sideways", 1), ("jvp", -1), ("jvp", float("nan")), ("work", 1)):
        with pytest.raises(ValueError, match=f"a pass is of kind forward, .* but got '{kind}' and {cases}"):
            Ledger().count(kind, cases)


def test_parts_read_and_count_and_do_nothing_else() -> None:
    ledger = Ledger(jvp_calls=2)
    given = PartsLedger(ledger)
    given.count("algebra", 3)
    assert (given.jvp_calls, given.algebra, given.work) == (2, 3, 3)
    for name in ("jvp_calls", "work", "units", "_ledger"):
        with pytest.raises(AttributeError, match=f"a part cannot set '{name}' of the ledger"):
            setattr(given, name, 0)
    with pytest.raises(AttributeError, match="a part's ledger has no 'load_state_dict'"):
        given.load_state_dict({})
    assert ledger == Ledger(jvp_calls=2, algebra=3, work=3)
