"""`hfbench simulate`: its table, its status, and what it refuses."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from hfbench.cli import main
from hfbench.commands import simulate
from hfbench.statistics.simulation import Rates, Situation

SITUATION = Situation("one limit, 20 % of pairs cut off", cut_off=0.2)


def printed(monkeypatch: pytest.MonkeyPatch, markdown: bool = False, **rates: float) -> tuple[int, str]:
    shares = {"better": 0.02, "worse": 0.02, "equivalent": 0.0, "covered": 0.96, "power": 0.5} | rates
    monkeypatch.setattr(simulate, "SITUATIONS", (SITUATION,))
    monkeypatch.setattr(simulate, "rates", lambda situation, n, studies: Rates(situation, n, studies, **shares))
    console = Console(file=io.StringIO(), width=80)
    status = simulate.simulate_studies([7, 10], 1000, 1, console, markdown)
    return status, console.file.getvalue()


def test_the_table_says_how_often_and_how_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = printed(monkeypatch)
    assert status == 0
    (row,) = (line for line in text.splitlines() if " 7 " in line)
    assert row.split()[-6:] == ["7", "2.0", "2.0", "0.0", "96.0", "50.0"]
    assert "1000 studies of each situation; standard errors up to 0.62 points." in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("rates", "broken"),
    [({"worse": 0.06}, "better or worse"), ({"equivalent": 0.08}, "equivalent"), ({"covered": 0.9}, "not covered")],
)
def test_a_broken_promise_is_named_and_is_the_status(
    monkeypatch: pytest.MonkeyPatch, rates: dict[str, float], broken: str
) -> None:
    status, text = printed(monkeypatch, **rates)
    assert status == 1
    assert f"Above the promised level: {SITUATION.name}, n = 7: {broken}." in text


def test_markdown_is_a_table_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _, text = printed(monkeypatch, markdown=True)
    lines = text.splitlines()
    assert lines[0] == "| situation | n | better | worse | equiv. | covered | power |"
    assert lines[2] == f"| {SITUATION.name} | 7 | 2.0 | 2.0 | 0.0 | 96.0 | 50.0 |"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--studies", "0"], "--studies: must be at least 1, but got 0."),
        (["--seeds", "5"], "--seeds: with fewer than 6 seeds no difference can be found, but got 5."),
        (["--seeds", "7,x"], "--seeds: must be numbers separated by commas (7,10,20), but got '7,x'."),
    ],
)
def test_what_cannot_be_simulated_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["hfbench", "simulate", *options])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert (caught.value.code, capsys.readouterr().err.strip()) == (2, f"hfbench: {message}")


@pytest.mark.slow
def test_it_simulates_for_real() -> None:
    console = Console(file=io.StringIO(), width=80)
    assert simulate.simulate_studies([7], 60, 2, console) == 0
    assert "limits in two units" in console.file.getvalue()
