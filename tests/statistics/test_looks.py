"""Looks that a study declares: their shares of alpha, what is judged when, and what stays decided."""

from pathlib import Path

import pytest
from support.result_tables import runs
from support.tiny_study import TEXT, results_folder, run_quietly, tiny, uses_mlflow

from hfbench.config.load import load_study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.records.recorded_study import Leftovers, RecordedStudy
from hfbench.statistics import looks
from hfbench.statistics.findings import findings_of, up_to_decision

BEFORE, OPEN = looks.EARLY, "inconclusive"


def test_looks_share_alpha_in_proportion_to_their_new_seeds():
    assert looks.spend((7, 10, 20), 0.05) == pytest.approx([0.0175, 0.0075, 0.025])
    assert looks.spend((8,), 0.05) == [0.05]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("[10, 7]", r"increasing numbers of seeds such as \[7, 10, 20\], but got \[10, 7\]"),
        ("[7, 10]", "must be at all the seeds, 20 on tiny-curves, but got 10"),
        ("[0, 20]", r"study.looks\[0\]"),
    ],
)
def test_looks_that_are_none_are_refused(tmp_path: Path, given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(tmp_path, "study.seeds=20", f"study.looks={given}")


def test_more_seeds_than_looks_are_refused_and_fewer_are_not(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(TEXT.replace("seeds = 2", "seeds = 20\nlooks = [7, 20]"))
    with pytest.raises(ConfigError, match="--seeds: the study declares its last look at 20 seeds, but got 25"):
        load_study(str(file), seeds=25)
    assert load_study(str(file), seeds=7).looks == (7, 20)


def recorded(tmp_path: Path, n: int, ratios: list[float], declared: str = "[8, 20]") -> RecordedStudy:
    """A study of which the first n seeds have run; shf costs so much of hf at each."""
    study = tiny(tmp_path, "study.seeds=20", f"study.looks={declared}")
    specs = {spec.key(): spec for spec in runs_of(study, None)}
    base = {s: 100.0 + s for s in range(20)}
    table = runs({"hf": base, "shf": {s: base[s] * ratio for s, ratio in enumerate(ratios)}}, task="tiny-curves")
    rows = {(row["method"], row["seed"]): row for row in table.to_dict("records")}
    ended = {key: {**rows[spec.method.name, spec.seed], "key": key} for key, spec in specs.items() if spec.seed < n}
    return RecordedStudy(study, specs, tmp_path, tmp_path, ended, Leftovers())


CLEAR = [0.5 + 0.001 * s for s in range(20)]
TURNS = [0.5 + 0.001 * s for s in range(8)] + [1.6 + 0.01 * s for s in range(12)]


def verdict(study: RecordedStudy) -> tuple[str, int | None, int]:
    (c,) = findings_of(study).comparisons
    return c.verdict, c.decided_at, c.n


def test_nothing_is_decided_before_the_first_look(tmp_path: Path) -> None:
    early = recorded(tmp_path, 7, CLEAR)
    assert verdict(early) == (BEFORE, None, 7)
    (c,) = findings_of(early).comparisons
    assert (c.p, c.p_holm, c.p_tost) == (None, None, None)


def test_a_look_is_judged_on_its_seeds_at_its_share(tmp_path: Path) -> None:
    between = recorded(tmp_path, 12, CLEAR)
    (c,) = findings_of(between).comparisons
    assert (c.n, c.alpha, c.verdict) == (8, pytest.approx(0.02), "clearly better")
    assert c.p == 2 / 2**8


def test_what_a_look_decided_stays_decided(tmp_path: Path) -> None:
    (c,) = findings_of(recorded(tmp_path, 20, TURNS)).comparisons
    assert (c.verdict, c.decided_at, c.n, c.p, c.differs) == ("clearly better", 8, 8, 2 / 2**8, "better")
    assert c.ci_high < 1  # the row is that of the look
    without = recorded(tmp_path, 20, TURNS, declared="[]")
    assert verdict(without)[0] != "clearly better"


def test_a_decided_study_asks_for_no_further_seeds(tmp_path: Path) -> None:
    done = up_to_decision(recorded(tmp_path, 12, CLEAR))
    assert (len(done.specs), done.missing, done.study.seeds) == (16, [], tuple(range(8)))
    still_open = recorded(tmp_path, 12, [1.0 + 0.3 * (-1) ** s for s in range(20)])
    assert up_to_decision(still_open) is still_open


@pytest.mark.slow
@uses_mlflow
@pytest.mark.usefixtures("own_store", "undrawn")
def test_a_study_runs_look_by_look_until_all_is_decided(tmp_path: Path) -> None:
    study = tiny(
        tmp_path / "file",
        "study.seeds=12",
        "study.looks=[8, 12]",
        "study.budget={passes=60}",
        "methods.shf.max_inner=1",
    )
    results = results_folder(tmp_path / "results")
    status, screen = run_quietly(study, results)
    said = " ".join(screen.split())
    assert status == 0
    assert "Everything was decided at the look of 8 seeds: 8 runs of later looks not made." in said
    assert len(list((results / "runs").iterdir())) == 16
    assert "not recorded" not in said
    assert "not in MLflow yet" not in said
    assert "[16/16]" in said
