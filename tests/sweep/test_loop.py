"""Loop of a sweep over runs that are made up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.made_records import record
from support.sweep_stand_ins import Memory
from support.tiny_sweep import study_file

from hfbench.config.load import load_study
from hfbench.config.run_spec import RunSpec
from hfbench.records.results_folder import ResultsFolder
from hfbench.sweep.loop import retest, tune
from hfbench.sweep.tuning import Tuning, TuningTask


class MadeUp:
    """A pool that makes up the record of each run."""

    free = 1

    def __init__(self, results: Path) -> None:
        self.setting = ResultsFolder(results, "tiny")
        self.submitted: list[tuple[str, RunSpec]] = []

    @property
    def busy(self) -> bool:
        return bool(self.submitted)

    def submit(self, key: str, spec: RunSpec) -> None:
        self.submitted.append((key, spec))

    def next(self) -> dict[str, Any]:
        _, spec = self.submitted.pop()
        return record(spec, self.setting.results).result() or {}

    def results(self, specs: dict[str, RunSpec]) -> Iterator[dict[str, Any]]:
        for key, spec in specs.items():
            self.submit(key, spec)
            yield self.next()


class Lines:
    """What a sweep says, and a logger that logs nothing."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, line: str) -> None:
        self.said.append(line)

    def ended(self, *of: object) -> None:
        pass

    retests = retested = ended


@pytest.mark.parametrize("phase", ["tuning", "retest"])
def test_a_damaged_record_is_set_aside_with_a_line(tmp_path: Path, phase: str) -> None:
    study = load_study(str(study_file(tmp_path)), ["sweep.trials=2"])
    task = TuningTask(study, study.sweeps[0], "a", None)
    tuning, pool, lines = Tuning(task, Memory()), MadeUp(tmp_path), Lines()  # type: ignore[arg-type]
    spec = task.spec(task.first, (study.sweeps[0].seeds if phase == "tuning" else study.sweeps[0].retest)[0])
    record(spec, tmp_path).trace_path.write_bytes(b"torn")
    tune([tuning], pool, lines, lines)  # type: ignore[arg-type]
    assert len(lines.said) == (phase == "tuning")
    retest(tuning, pool, lines)  # type: ignore[arg-type]
    (line,) = lines.said
    assert line.startswith(f"{spec.name} is set aside in {tmp_path / 'set-aside' / spec.key()}-1: runs/{spec.key()}: ")
