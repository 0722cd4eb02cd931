"""The folder of a run: its result is written last, and what is damaged in it counts as none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from hfbench.errors import StoreError
from hfbench.records.run_folder import RunFolder


def test_results_are_the_last_thing_written_and_leave_no_scratch(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({"a": 1})
    assert folder.result() is None
    assert not folder.is_complete()
    folder.save_checkpoint({"x": torch.ones(2)})
    folder.report({"name": "n"})
    folder.finish([{"iteration": 0}], {"outcome": "budget", "error": None})
    assert folder.is_complete()
    assert sorted(os.listdir(folder.path)) == ["config.json", "result.json", "trace.parquet"]


def test_a_checkpoint_cannot_execute_code(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "sprung"),)

    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    torch.save({"x": Trap()}, folder.path / "checkpoint.pt")
    assert folder.load_checkpoint() is None
    (folder.path / "checkpoint.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
    assert folder.load_checkpoint() is None
    assert not (tmp_path / "sprung").exists()


def test_a_torn_checkpoint_counts_as_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    folder.save_checkpoint({"x": torch.arange(1000)})
    whole = (folder.path / "checkpoint.pt").read_bytes()
    assert torch.equal((folder.load_checkpoint() or {})["x"], torch.arange(1000))
    (folder.path / "checkpoint.pt").write_bytes(whole[: len(whole) // 2])
    assert folder.load_checkpoint() is None


def test_a_result_that_is_no_json_is_said(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    (folder.path / "result.json").write_text("{")
    with pytest.raises(StoreError, match="must be readable JSON"):
        folder.is_complete()
