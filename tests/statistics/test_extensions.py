"""Seeds added after a judgement: remembered, told apart from declared looks and fresh blocks."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from support.result_tables import runs
from support.tiny_study import FACTORIAL, compare_quietly, mlflow_runs, results_folder, run_quietly, tiny, uses_mlflow

from hfbench.config.study_runs import runs_of
from hfbench.records.files import read_json
from hfbench.records.judgements import Judged, Judgement
from hfbench.records.recorded_study import Leftovers, RecordedStudy
from hfbench.report.effect_text import markdown, sentence
from hfbench.statistics.extensions import first_look, judged_now, with_first_verdicts
from hfbench.statistics.factorial import Effect
from hfbench.statistics.findings import findings_of

NAME = "shf against hf on tiny-curves"
RULE = "wilcoxon, level 0.05, margin 1.1"


def judged(
    *seeds: int, settings: str = "a", rule: str = RULE, planned: tuple[int, ...] = (), verdict: str = "better"
) -> Judged:
    return Judged(settings, rule, planned or seeds, seeds, verdict)


def looked(*entries: Judged, looks: tuple[int, ...] = (), name: str = NAME) -> list[Judgement]:
    return [Judgement("2026-01-01", looks, {name: entry}) for entry in entries]


def test_more_seeds_than_were_judged_first_are_an_extension():
    before = looked(judged(0, 1, verdict="inconclusive"), judged(0, 1, 2))
    found = first_look(judged(0, 1, 2, 3), before, ())
    assert found is not None
    assert (found.seeds, found.verdict) == ((0, 1), "inconclusive")


@pytest.mark.parametrize(
    "before",
    [
        looked(judged(0, 1, 2, 3, 4)),  # fewer now
        looked(judged(0, 1, 7)),  # some others
        looked(judged(5, 6)),  # a block before
        looked(judged(0, 1, 2, rule="sign, level 0.05, margin 1.1")),  # another test on the same seeds
        looked(judged(0, 1, planned=(0, 1, 5))),  # a run of them lost, then others planned
        looked(judged(0, 1), name="shf2 against hf on tiny-curves"),  # the same method by another name
        looked(judged(0, 1), looks=(2, 4)),  # looks that were not these
    ],
)
def test_any_other_judgement_of_the_same_question_is_told(before):
    assert first_look(judged(0, 1, 2), before, (2, 3)) is before[0].judged[next(iter(before[0].judged))]


@pytest.mark.parametrize(
    ("before", "now", "looks"),
    [
        (looked(judged(0, 1, 2)), judged(0, 1, 2), ()),  # the same again
        (looked(judged(0, 1, settings="b")), judged(0, 1, 2), ()),  # another question
        (looked(judged(0, 1, planned=(0, 1, 2))), judged(0, 1, 2), ()),  # before all planned seeds were there
        (looked(judged(planned=(0, 1))), judged(0, 1, 2), ()),  # before there was any
        (looked(judged(0, 1, verdict="inconclusive (n too small)")), judged(0, 1, 2), ()),  # it could be nothing else
        (looked(judged(0, 1), looks=(2, 3)), judged(0, 1, 2), (2, 3)),  # a declared look
        (looked(judged(0, 1, 2), judged(0, 1)), judged(0, 1, 2), ()),  # a part of it was looked at afterwards
        ([], judged(0, 1), ()),
    ],
)
def test_what_is_no_extension(before, now, looks):
    assert first_look(now, before, looks) is None


def factorial(folder: Path, n: int) -> RecordedStudy:
    """A factorial of n seeds in which the solver halves the cost and nothing else does anything."""
    study = tiny(folder, f"study.seeds={n}", extra=FACTORIAL)
    assert study.ablation is not None
    planned = {spec.key(): spec for spec in runs_of(study, None)}
    costs = {
        method: {s: (100.0 + s) * 0.5 ** levels[0] * (1 + 0.01 * ((3 * s + sum(levels)) % 5)) for s in range(n)}
        for method, levels in study.ablation.levels.items()
    }
    rows = {(row["method"], row["seed"]): row for row in runs(costs, task="tiny-curves").to_dict("records")}
    ended = {key: {**rows[spec.method.name, spec.seed], "key": key} for key, spec in planned.items()}
    return RecordedStudy(study, planned, folder, folder, ended, Leftovers())


def effects_after(before: list[Judgement], recorded: RecordedStudy) -> tuple[dict[str, Judged], dict[str, Effect]]:
    found = findings_of(recorded)
    now = judged_now(recorded, found)
    return now, {effect.name: effect for effect in with_first_verdicts(found, now, before, recorded.study).effects}


def test_effects_of_a_factorial_are_remembered_and_their_extension_told(tmp_path: Path) -> None:
    first, effects = effects_after([], factorial(tmp_path / "first", 10))
    assert {(effect.planned, effect.first_n) for effect in effects.values()} == {(10, None)}
    assert first["main effect solver on tiny-curves"].seeds == tuple(range(10))
    assert first["main effect solver on tiny-curves"].verdict == "clearly better"
    assert len({entry.settings for entry in first.values()}) == len(first), "each is a question of its own"

    _, longer = effects_after([Judgement("2026-01-01", (), first)], factorial(tmp_path / "longer", 12))
    for name, effect in longer.items():
        assert (effect.first_n, effect.first_verdict, effect.first_how) == (10, effects[name].verdict, "extended")
    told = "Extended without having declared it; before: clearly better with 10 seeds."
    names = factorial(tmp_path / "longer", 12).study.ablation.values  # type: ignore[union-attr]
    assert sentence(longer["solver"], names).endswith(told)
    group = list(longer.values())
    assert "Judged before without a declared look: solver clearly better with 10 seeds;" in markdown(group, names)

    _, same = effects_after([Judgement("2026-01-01", (), first)], factorial(tmp_path / "same", 10))
    assert {effect.first_n for effect in same.values()} == {None}
    assert "before" not in sentence(same["solver"], names)
    early = replace(same["solver"], planned=20)
    assert "Preliminary: 10 of 20 planned seeds." in sentence(early, names)
    assert "Decided at the declared look of 10 seeds, which this is." in sentence(replace(early, decided_at=10), names)


@pytest.mark.slow
@uses_mlflow
@pytest.mark.usefixtures("own_store", "undrawn")
def test_an_extension_is_told_in_table_report_and_tag(tmp_path: Path) -> None:
    results = results_folder(tmp_path / "results")
    file = tmp_path / "file"
    assert "before" not in run_quietly(tiny(file, "study.seeds=6"), results)[1]
    assert "before" not in compare_quietly(tiny(file, "study.seeds=6"), results)[1]
    _, screen = run_quietly(tiny(file, "study.seeds=7"), results)
    (said,) = re.findall(r"Extended without having declared it; before: (.*?) with 6 seeds\.", " ".join(screen.split()))
    folder = results / "studies" / "tiny"
    assert f"before: {said} with 6 seeds." in (folder / "report.md").read_text()
    kept = read_json(folder / "judgements.json") or {}
    assert [len(one["judged"][NAME]["seeds"]) for one in kept["judgements"]] == [6, 7]
    (row,) = (read_json(folder / "comparisons.json") or {})["comparisons"]
    assert (row["first_n"], row["first_verdict"], row["first_how"]) == (6, said, "extended")

    (parent,) = (run for run in mlflow_runs(results) if "run_key" not in run.data.tags)
    told = parent.data.tags["not-at-target/tiny-curves/shf-vs-hf"]
    assert f"judged before without a declared look: shf {said} with 6 seeds" in told
