"""The console script in this process, and a task of its own for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.shelf import Shelf

from hfbench import registry
from hfbench.cli import main


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A task is known as shelf, and the environment names no folder."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("HFBENCH_DATA", raising=False)
    monkeypatch.delenv("HFBENCH_RESULTS", raising=False)
    monkeypatch.setattr("hfbench.parts.data_files.cache_folder", lambda: tmp_path / "cache")
    with registry.temporary("task", "shelf", Shelf):
        yield


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the console script in this process: (status, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hfbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            main.main()
        out, err = capsys.readouterr()
        status = caught.value.code
        return (status if isinstance(status, int) else 0), out, err

    return call
