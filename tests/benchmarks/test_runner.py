"""Which benchmarks there are, their tables at 80 columns, and the file they are kept in."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from benchmarks import runner
from benchmarks.runner import Options
from hfbench.errors import ConfigError

MACHINE = {"processor": "abacus", "threads": 1}
FOUND: dict[str, Any] = {
    "title": "Beads",
    "busy_cores": 0.1,
    "columns": {"side": "by", "ratio": "times ours", "note": "note"},
    "rows": [{"side": "ours", "ratio": 1.0}, {"side": "theirs", "ratio": 1.23456789, "note": None}],
}


def printed(found: dict[str, Any]) -> list[str]:
    console = Console(file=io.StringIO(), width=runner.WIDTH)
    runner.show(found, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


# ---------------------------------------------------------------- which there are


def test_every_benchmark_follows_the_protocol() -> None:
    found = runner.titles()
    assert {"product", "peers", "race_peer", "growth", "overhead", "thousand", "target"} <= found.keys()
    assert not {"runner", "timing", "machine", "floors", "problems", "training"} & found.keys()
    for name, title in found.items():
        module = runner.load(name)
        assert title == module.TITLE
        assert callable(module.rows)
        assert len(set(module.COLUMNS.values())) == len(module.COLUMNS)
        assert ast.get_docstring(ast.parse((runner.FOLDER / f"{name}.py").read_text("utf-8")))


def test_names_are_kept_in_order_and_once_and_none_means_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert runner.checked_names(["product", "growth", "product"]) == ["product", "growth"]
    without_gpu = [name for name in runner.titles() if name != "gpu"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert runner.checked_names([]) == without_gpu
    with pytest.raises(ConfigError, match="gpu: this benchmark needs a GPU, but PyTorch finds none"):
        runner.load("gpu").check_options(Options())  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runner.checked_names([]) == list(runner.titles())


def test_a_name_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no benchmark 'prodct' \(did you mean 'product'\?\); known: .*growth"):
        runner.checked_names(["growth", "prodct"])


# ---------------------------------------------------------------- tables


def test_a_table_has_a_line_for_each_row_and_no_column_that_none_fills() -> None:
    lines = printed(FOUND)
    assert lines[1] == "Beads"
    assert [line.split() for line in lines[3:5]] == [["times"], ["by", "ours"]]
    assert [line.split() for line in lines[6:8]] == [["ours", "1"], ["theirs", "1.23"]]


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (1.0, "1"), (0.012345, "0.0123"), (12345.6, "12346"), (7, "7")]
)
def test_values_as_a_table_shows_them(value: float | None, shown: str) -> None:
    assert runner.text(value) == shown


@pytest.mark.parametrize("name", ["product", "peers", "race_peer", "growth", "overhead", "thousand", "target"])
def test_headings_and_numbers_are_whole_at_80_columns(name: str) -> None:
    columns = runner.load(name).COLUMNS
    texts = {"task": "mnist-conv", "side": "PyTorchHessianFree", "of": "curves-small", "what": "python -c pass"}
    texts |= {"axis": "parameters, fitted", "preconditioner": "chapelle-erhan", "solver": "lsmr", "settings": "default"}
    row = {key: texts.get(key, 1234.5) for key in columns if key != "note"}
    lines = printed({"title": name, "columns": columns, "rows": [row]})
    assert max(map(len, lines)) <= runner.WIDTH
    text = " ".join(" ".join(lines).split())
    words = [word for key, heading in columns.items() if key != "note" for word in heading.split()]
    assert all(word in text for word in words)
    assert text.count(runner.text(1234.5)) == sum(value == 1234.5 for value in row.values())


# ---------------------------------------------------------------- measuring


def test_measuring_keeps_the_rows_and_reports_each(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(TITLE="T", COLUMNS={"a": "A"}, rows=lambda options: iter([{"a": options.threads}]))
    monkeypatch.setattr(runner, "load", lambda name: stand_in)
    seen: list[runner.Row] = []
    found = runner.measure("any", Options(threads=3, quick=True), seen.append)
    assert found["rows"] == seen == [{"a": 3}]
    assert found["quick"] is True


def test_other_work_is_told_in_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner.os, "cpu_count", lambda: 2)
    told = iter([[100, 0, 10, 500, 20, 0, 0, 0], [120, 0, 15, 560, 35, 0, 0, 0]])  # user, system; 60 idle, 15 waiting
    monkeypatch.setattr(runner, "_ticks", lambda: next(told))
    assert runner.busy_cores(0.0) == 0.5
    monkeypatch.setattr(runner, "_ticks", lambda: None)
    assert runner.busy_cores(0.0) is None


def test_a_row_with_a_key_that_is_no_column_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in = SimpleNamespace(TITLE="T", COLUMNS={"a": "A"}, rows=lambda options: iter([{"b": 1}]))
    monkeypatch.setattr(runner, "load", lambda name: stand_in)
    with pytest.raises(ValueError, match="but one has b"):
        runner.measure("any", Options())


# ---------------------------------------------------------------- the file


def test_what_is_written_is_read_again_with_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    held = runner.read(file, MACHINE)
    assert held == {"machine": MACHINE, "benchmarks": {}}
    held["benchmarks"]["beads"] = FOUND
    runner.write(file, held)
    again = runner.read(file, MACHINE)
    assert again["machine"] == MACHINE
    assert again["benchmarks"]["beads"]["rows"][1] == {"side": "theirs", "ratio": 1.2346, "note": None}
    assert json.loads(file.read_text("utf-8")) == again
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_figures_of_two_machines_are_not_mixed(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    runner.write(file, {"machine": MACHINE, "benchmarks": {}})
    with pytest.raises(ConfigError, match=r"another machine or with other settings \(threads\)"):
        runner.read(file, MACHINE | {"threads": 2})


@pytest.mark.parametrize("content", ["", "[]", '{"machine": 3}', '{"machine": {}, "benchmarks": []}'])
def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path, content: str) -> None:
    file = tmp_path / "figures.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match="--json: must be a new file or one of ours"):
        runner.read(file, {})
    assert file.read_text() == content


def test_a_folder_that_is_not_there_is_told_beforehand(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a folder that exists"):
        runner.read(tmp_path / "no" / "figures.json", MACHINE)
