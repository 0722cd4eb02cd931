"""Hypotheses of a study file and their answers, on made-up results whose truth is known."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from support.result_tables import runs, simulated
from support.tiny_study import TEXT, results_folder, run_quietly, tiny, uses_mlflow

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.errors import ConfigError
from hfbench.report import claim_text
from hfbench.statistics import claims
from hfbench.statistics.pairs import measured

DECLARED = """
[hypotheses.%(name)s]
says = "it is so"
method = "shf"
measure = "%(measure)s"
expects = "%(expects)s"
"""


def study(tmp_path: Path, *declared: tuple[str, str, str], text: str = TEXT) -> Study:
    tables = [DECLARED % {"name": name, "measure": measure, "expects": expects} for name, measure, expects in declared]
    file = tmp_path / "study.toml"
    file.write_text(text + "".join(tables))
    return load_study(str(file))


def answered(tmp_path: Path, expects: str, ratio: float, sd: float = 0.05, n: int = 10) -> claims.Claim:
    results = simulated(ratio, sd, n, np.random.default_rng(1), method="shf", task="tiny-curves")
    (one,) = claims.answer(study(tmp_path, ("it", "work_to_target", expects)), results, {})
    return one


@pytest.mark.parametrize(
    ("expects", "ratio", "answer"),
    [
        ("better", 0.7, "holds"),
        ("better", 1.0, "fails"),  # shown to be equivalent
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


def test_not_worse_holds_where_only_worse_is_excluded(tmp_path: Path) -> None:
    costs = (88, 104, 95, 80, 106, 97, 85, 103, 99, 90)
    results = runs({"hf": dict.fromkeys(range(10), 100), "shf": dict(enumerate(costs))}, task="tiny-curves")
    (one,) = claims.answer(study(tmp_path, ("it", "work_to_target", "not-worse")), results, {})
    assert one.comparison.verdict == "inconclusive"
    assert one.p_not_worse is not None
    assert one.p_not_worse < 0.05
    assert one.answer == "holds"
    assert "Worse by 10 % or more is excluded (one-sided p_Holm" in claim_text.sentence(one)


def test_too_few_seeds_answer_nothing(tmp_path: Path) -> None:
    one = answered(tmp_path, "not-worse", 0.5, n=5)
    assert (one.answer, one.comparison.p_holm, one.p_not_worse) == ("open", None, None)


def test_two_that_never_reach_the_target_are_not_shown_to_be_alike(tmp_path: Path) -> None:
    results = runs({"hf": dict.fromkeys(range(10)), "shf": dict.fromkeys(range(10))}, task="tiny-curves")
    (one,) = claims.answer(study(tmp_path, ("it", "work_to_target", "not-worse")), results, {"tiny-curves": 400.0})
    assert one.answer == "open"


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


def test_a_measure_of_the_end_counts_divergence_as_the_worst_error() -> None:
    table = pd.DataFrame(
        {
            "task": "usps",
            "method": ["hf", "hf", "hf", "shf", "shf", "shf"],
            "seed": [0, 1, 2] * 2,
            "outcome": ["budget", "budget", "reached", "diverged", "reached", "reached"],
            "final_test_error": [10.0, 8.0, 6.0, 0.5, 4.0, 6.0],
        }
    )
    found = measured(table, "usps", "shf", "hf", "final_test_error")
    assert found.d == pytest.approx([0.0, np.log(0.5), 0.0], abs=1e-12)
    assert found.solved.all()


def test_a_run_without_its_pair_is_left_out_and_counted() -> None:
    table = pd.DataFrame(
        {"task": "usps", "method": ["hf", "hf", "shf"], "seed": [0, 1, 1], "outcome": "budget",
         "peak_memory": [10.0, 8.0, 4.0]}
    )  # fmt: skip
    found = measured(table, "usps", "shf", "hf", "peak_memory")
    assert (list(found.d), found.missing) == ([round(np.log(0.5), 12)], 1)


# ---------------------------------------------------------------- study files


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('method = "shf"', "hypotheses.it.measure: must be given"),
        ('method = "sfh"\nmeasure = "peak_memory"', "it.method: must name a method of the study, but got 'sfh'"),
        ('method = "shf"\nagainst = "shf"\nmeasure = "peak_memory"', "hypotheses.it.against: must be another method"),
        ('method = "shf"\nmeasure = "memory"', "hypotheses.it.measure: must be one of 'work_to_target'"),
        ('method = "shf"\nmeasure = "peak_memory"\nexpects = "best"', "hypotheses.it.expects: must be one of 'better'"),
        ('method = "adam"\nmeasure = "products_to_target"', "adam needs no Gauss-Newton products"),
    ],
)  # fmt: skip
def test_a_wrong_hypothesis_is_one_message(tmp_path: Path, table: str, message: str) -> None:
    adam = '\n[methods.adam]\noptimizer = "adam"\nscheduler = "fixed"\n'
    file = tmp_path / "study.toml"
    file.write_text(f"{TEXT}{adam}[hypotheses.it]\n{table}\n")
    with pytest.raises(ConfigError) as error:
        load_study(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hypothesis_goes_with_its_methods(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    study(tmp_path, ("it", "peak_memory", "better"))
    third = '\n[methods.other]\nsolver = "lsqr"\npreconditioner = "identity"\nscheduler = "fixed"\n'
    file.write_text(file.read_text() + third)
    assert [one.name for one in load_study(str(file), only=["shf"]).hypotheses] == ["it"]
    assert load_study(str(file), only=["other"]).hypotheses == ()


# ---------------------------------------------------------------- for people


def test_a_table_of_claims_fits_the_screen(tmp_path: Path) -> None:
    declared = (("work", "work_to_target", "better"), ("time", "seconds_to_target", "not-worse"))
    results = simulated(0.7, 0.05, 10, np.random.default_rng(1), method="shf", task="tiny-curves")
    screen = io.StringIO()
    claim_text.table(claims.answer(study(tmp_path, *declared), results, {}), Console(file=screen, width=80))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["work", "tiny-curves"] and line.split()[-1] == "holds" for line in lines)
    assert "• time: it is so (shf against hf by seconds to target, expected not more)" in screen.getvalue()


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

    from mlflow.tracking import MlflowClient

    from hfbench.tracking.mlflow_store import local_uri

    client = MlflowClient(tracking_uri=local_uri(results))
    (experiment,) = (one for one in client.search_experiments() if one.name == "tiny")
    (parent,) = client.search_runs([experiment.experiment_id], "tags.study_key LIKE '%'")
    assert parent.data.tags["claim/tiny-curves/lean"] == "open"
    assert parent.data.metrics["claim/tiny-curves/lean/n"] == 2
