"""Hypotheses and their answers, on made-up results whose truth is known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.declared import DECLARED, answered, study
from support.result_tables import runs, simulated
from support.tiny_study import mlflow_runs, results_folder, run_quietly, tiny, uses_mlflow

from hfbench.records.files import read_json
from hfbench.report.claim_text import sentence
from hfbench.statistics import claims


@pytest.mark.parametrize(
    ("expects", "ratio", "answer"),
    [
        ("better", 0.7, "holds"),
        ("better", 0.95, "holds"),  # and equivalent
        ("better", 1.0, "open"),  # shown to be equivalent, and either may be the better
        ("better", 1.4, "fails"),
        ("equivalent", 1.0, "holds"),
        ("equivalent", 0.7, "fails"),
        ("not-worse", 0.7, "holds"),
        ("not-worse", 1.0, "holds"),
        ("not-worse", 1.4, "fails"),
    ],
)
def test_answers_where_the_runs_are_clear(tmp_path: Path, expects: str, ratio: float, answer: str) -> None:
    assert answered(tmp_path, expects, ratio).answer == answer


@pytest.mark.parametrize("expects", ["better", "equivalent"])
def test_what_the_runs_do_not_show_is_open(tmp_path: Path, expects: str) -> None:
    one = answered(tmp_path, expects, 1.0, sd=0.5)
    assert (one.answer, one.comparison.verdict) == ("open", "inconclusive")


def test_too_few_seeds_answer_nothing(tmp_path: Path) -> None:
    one = answered(tmp_path, "not-worse", 0.5, n=5)
    assert (one.answer, one.comparison.p_holm, one.p_not_worse) == ("open", None, None)


def test_two_that_never_reach_the_target_are_not_shown_to_be_alike(tmp_path: Path) -> None:
    results = runs({"hf": dict.fromkeys(range(10)), "shf": dict.fromkeys(range(10))}, task="tiny-curves")
    (one,) = claims.answer(
        study(tmp_path, ("it", "work_to_target", "not-worse")), results, {"tiny-curves": {"passes": 400.0}}
    )
    assert one.answer == "open"


def test_errors_of_zero_are_answered_and_bound_the_ratio(tmp_path: Path) -> None:
    costs = dict.fromkeys(range(8), 100.0)
    results = runs({"hf": costs, "shf": costs}, task="tiny-curves").assign(test_resolution=0.5)
    results["final_test_error"] = np.where(results["method"] == "hf", 2.0, 0.0)
    (one,) = claims.answer(study(tmp_path, ("it", "final_test_error", "better")), results, {})
    c = one.comparison
    assert (one.answer, c.n, c.wins, c.ratio_low, c.verdict) == ("holds", 8, 8, 0.0, "clearly better")
    assert (c.ratio_high, c.ci_high) == (pytest.approx(0.25), pytest.approx(0.25))
    assert "shf ended with at most 0.25x the test error of hf (95 % CI ≤0.25, Wilcoxon p_Holm = .008" in sentence(one)
    assert "A test error of 0 lies below what one test case adds to it: it bounds the ratio." in sentence(one)


def test_the_error_rate_of_a_claim_of_a_difference_is_kept(tmp_path: Path) -> None:
    """Under the null at most 5 % of "better" claims hold or fail by better or worse, with Monte-Carlo error."""
    declared = study(tmp_path, ("it", "work_to_target", "better"))
    rng = np.random.default_rng(7)
    drawn = [simulated(1.0, 0.4, 8, rng, method="shf", task="tiny-curves") for _ in range(400)]
    found = [claims.answer(declared, results, {})[0].comparison.verdict for results in drawn]
    wrong = np.mean(["better" in one or "worse" in one for one in found])
    assert 0 < wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_not_worse_is_wrong_in_at_most_five_percent(tmp_path: Path) -> None:
    """At a true ratio on the margin, where the claim is false."""
    declared = study(tmp_path, ("it", "work_to_target", "not-worse"))
    rng = np.random.default_rng(8)
    drawn = [simulated(1.1, 0.1, 10, rng, method="shf", task="tiny-curves") for _ in range(400)]
    held = np.mean([claims.answer(declared, results, {})[0].answer == "holds" for results in drawn])
    assert 0 < held <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_all_claims_are_one_family(tmp_path: Path) -> None:
    results = simulated(0.7, 0.02, 10, np.random.default_rng(1), method="shf", task="tiny-curves")
    declared = study(tmp_path, ("work", "work_to_target", "better"), ("time", "seconds_to_target", "better"))
    found = claims.answer(declared, results, {})
    assert [(one.hypothesis.name, one.comparison.family) for one in found] == [("work", 2), ("time", 2)]
    assert [one.comparison.p_holm for one in found] == [pytest.approx(2 * 2 / 1024)] * 2


# ---------------------------------------------------------------- for people


@pytest.mark.slow
@uses_mlflow
@pytest.mark.usefixtures("own_store")
def test_claims_are_printed_reported_and_tracked(tmp_path: Path) -> None:
    results = results_folder(tmp_path / "results")
    extra = DECLARED % {"name": "lean", "measure": "peak_memory", "expects": "not-worse"}
    status, screen = run_quietly(tiny(tmp_path / "file", extra=extra), results)
    assert status == 0
    assert "lean" in screen
    folder = results / "studies" / "tiny"
    (row,) = pd.read_parquet(folder / "claims.parquet").to_dict("records")
    assert (row["claim"], row["answer"], row["cost"]) == ("lean", "open", "peak_memory")
    report = (folder / "report.md").read_text()
    assert "| lean | tiny-curves |" in report
    assert "The claim is open." in report

    (parent,) = (run for run in mlflow_runs(results) if "run_key" not in run.data.tags)
    assert parent.data.tags["claim/tiny-curves/lean"] == "open"
    kept = read_json(results / "studies" / "tiny" / "comparisons.json") or {}
    assert [(row["claim"], row["n"]) for row in kept["claims"]] == [("lean", 2)]
