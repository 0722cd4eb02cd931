"""The command: tables and JSON for what is asked, bad input with one sentence and status 2, a failure with 1."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import machine, runner
from benchmarks.__main__ import main
from hfbench.errors import DataError


@pytest.fixture(autouse=True)
def _threads_put_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Benchmarks that answer at once: `growth` measures, `product` lacks data."""

    def lacking(options: runner.Options) -> Iterator[runner.Row]:
        raise DataError("no data here")
        yield {}

    modules = {
        "growth": SimpleNamespace(TITLE="Growth", COLUMNS={"size": "size"}, rows=lambda o: iter([{"size": o.threads}])),
        "product": SimpleNamespace(TITLE="Product", COLUMNS={}, rows=lacking),
    }
    monkeypatch.setattr(runner, "load", modules.__getitem__)


@pytest.mark.usefixtures("stand_ins")
def test_tables_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["growth", "--threads", "1", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert f"torch: {torch.__version__}" in printed
    assert "threads: 1" in printed
    assert "Growth" in printed
    held = json.loads(file.read_text("utf-8"))
    assert held["benchmarks"]["growth"]["rows"] == [{"size": 1}]
    assert held["machine"]["threads"] == 1


@pytest.mark.usefixtures("stand_ins")
def test_one_that_fails_loses_none_of_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert main(["product", "growth", "--threads", "1", "--json", str(file)]) == 1
    assert "product: no data here" in capsys.readouterr().err
    assert json.loads(file.read_text("utf-8"))["benchmarks"].keys() == {"growth"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["growht"], "no benchmark 'growht' (did you mean 'growth'?)"),
        (["growth", "--threads", "0"], "--threads: must be at least 1, but got 0"),
        (
            ["race_peer", "--threads", "1", "--peer", "."],
            "--peer: must be a folder with the source of PyTorchHessianFree",
        ),
    ],
)
def test_bad_input(arguments: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                   capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.out == ""


def test_help_names_every_benchmark_with_its_title(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    printed = capsys.readouterr().out
    assert all(f"{name} " in printed and title[:40] in printed for name, title in runner.titles().items())


# ---------------------------------------------------------------- the machine


def test_the_machine_is_described_without_its_name() -> None:
    described = machine.describe(threads=3)
    assert described["threads"] == 3
    assert described["torch"] == torch.__version__
    assert all(described.values())
    assert platform.node() not in " ".join(map(str, described.values()))
