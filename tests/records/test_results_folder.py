"""The results folder of a study's jobs."""

from __future__ import annotations

import pickle
from pathlib import Path

from hfbench.records.results_folder import ResultsFolder
from hfbench.records.run_folder import RunFolder


def test_a_run_has_its_folder_below_runs_in_every_process(tmp_path: Path) -> None:
    results = ResultsFolder(tmp_path, "tiny")
    for of_process in (results, pickle.loads(pickle.dumps(results))):
        assert of_process.folder("abc").path == RunFolder(tmp_path, "abc").path == tmp_path / "runs" / "abc"
    assert list(tmp_path.iterdir()) == []
