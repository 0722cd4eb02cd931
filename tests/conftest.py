"""Settings of every test: one torch thread, no telemetry, no display, real data only where it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest
import torch
from support.latex_pages import missing_programs
from support.mlflow_pages import missing
from support.other_parts import hide_other_parts
from support.plugin_files import PLUGIN
from support.tiny_study import results_folder

from hfbench import registry

hide_other_parts()  # before any test module asks for the parts there are


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def own_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is the one in the results folder, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take seconds, and have tests of their own."""
    monkeypatch.setattr("hfbench.report.study_figures.draw_figures", lambda *of: [])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return results_folder(tmp_path / "results")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a distribution with entry points and modules, as pip would, and puts it on the path; its folder."""

    def write(distribution: str, entry_points: str, **modules: str) -> Path:
        site = tmp_path / distribution
        info = site / f"{distribution}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(entry_points)
        for name, source in modules.items():
            (site / f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(site)
        return site

    return write


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """No part and no skipped file of one test is known to the next."""
    monkeypatch.setattr(registry, "_added", {})
    monkeypatch.setattr(registry, "skipped", {})


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a plugin file below the test's folder; its path."""

    def write(name: str, text: str = PLUGIN) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons = {
        "data": None if os.environ.get("HFBENCH_DATA") else "set HFBENCH_DATA to the folder of the real data",
        "browser": missing(),
        "latex": missing_programs(),
        "gpu": None if torch.cuda.is_available() else "needs a CUDA device",
    }
    for item in items:
        for marker, reason in reasons.items():
            if reason and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))
