"""Advice on limits: one, in the unit that is compared."""

import pytest

from hfbench.config.limit_advice import limit_advice


@pytest.mark.parametrize(
    ("primary", "budget", "said"),
    [
        ("work_to_target", {"passes": 400.0}, []),
        ("work_to_target", {"passes": 400.0, "iterations": 5.0}, ["Advice: limit passes alone on usps, or so that"]),
        ("work_to_target", {"seconds": 5.0}, ["Advice: limit passes on usps, since the work is compared: a run that"]),
        ("seconds_to_target", {"passes": 5.0}, ["Advice: limit seconds on usps, since the time is compared"]),
        ("distinct_to_target", {"passes": 5.0}, []),  # nothing limits it
    ],
)
def test_a_limit_in_another_unit_is_advised_against(primary, budget, said):
    found = limit_advice(primary, {"usps": budget})
    assert len(found) == len(said)
    assert all(sentence.startswith(start) for sentence, start in zip(found, said, strict=True))
