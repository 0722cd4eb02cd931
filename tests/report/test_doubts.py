"""Studies whose runs cannot answer them are doubted in the report and on the screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_study import TEXT, FullDisk, run_quietly, tiny, uses_mlflow

from hfbench import registry

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]

TWIN = TEXT[TEXT.index("[methods.shf]") :].replace("methods.shf", "methods.twin")


@pytest.mark.parametrize(
    ("changes", "extra", "said"),
    [
        (["study.targets.tiny-curves=83"], "", "All runs on tiny-curves reached the target with the first step"),
        (["study.budget={ seconds = 0.001 }"], "", "All runs on tiny-curves were ended by the budget after the first"),
        ([], TWIN, "The methods shf, twin have the same settings"),
    ],
)
def test_a_doubt_is_on_the_screen_and_in_the_report(
    results: Path, tmp_path: Path, changes: list[str], extra: str, said: str
) -> None:
    status, screen = run_quietly(tiny(tmp_path, "study.seeds=1", *changes, extra=extra), results)
    assert status == 0
    assert said in screen
    assert said in (results / "studies" / "tiny" / "report.md").read_text()


def test_nothing_is_doubted_where_nothing_is_recorded(results: Path, tmp_path: Path) -> None:
    with registry.temporary("solver", "full", FullDisk):
        study = tiny(tmp_path, "methods.hf.solver=full", "methods.shf.solver=full", "study.seeds=1")
        _, screen = run_quietly(study, results)
    assert "2 by the machine" in screen
    assert "All runs on" not in screen


def test_a_sound_study_is_not_doubted(results: Path, tmp_path: Path) -> None:
    _, screen = run_quietly(tiny(tmp_path, "study.seeds=1"), results)
    assert "All runs on" not in screen
    assert "same settings" not in screen
