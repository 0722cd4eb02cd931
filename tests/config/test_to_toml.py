from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from hfbench.config.load import load_study, shipped_studies
from hfbench.config.to_toml import toml


@pytest.mark.parametrize("name", sorted(shipped_studies()))
def test_a_study_written_to_a_file_reads_as_the_same(name: str, tmp_path: Path) -> None:
    study = load_study(name)
    file = tmp_path / "again.toml"
    file.write_text(toml(study, tmp_path), encoding="utf-8")
    again = load_study(str(file))
    beside = {"source": study.source, "ablation": study.ablation, "sweeps": study.sweeps}
    assert dataclasses.replace(again, **beside) == study
    assert again.ablation is None
    assert again.sweeps == ()


def test_looks_and_another_test_are_written_too(tmp_path: Path) -> None:
    study = load_study("quickstart", ["study.seeds=20", "study.looks=[7, 20]", "study.test=sign"])
    file = tmp_path / "again.toml"
    file.write_text(toml(study, tmp_path), encoding="utf-8")
    again = load_study(str(file))
    assert (again.looks, again.test) == (study.looks, study.test) == ((7, 20), "sign")
