"""Claims in words: what a table of them says, and that it fits the screen."""

import io
from pathlib import Path

import numpy as np
from rich.console import Console
from support.declared import study
from support.result_tables import runs, simulated

from hfbench.report import claim_text
from hfbench.statistics import claims


def test_not_worse_holds_where_only_worse_is_excluded(tmp_path: Path) -> None:
    costs = (88, 104, 95, 80, 106, 97, 85, 103, 99, 90)
    results = runs({"hf": dict.fromkeys(range(10), 100), "shf": dict(enumerate(costs))}, task="tiny-curves")
    (one,) = claims.answer(study(tmp_path, ("it", "work_to_target", "not-worse")), results, {})
    assert one.comparison.verdict == "inconclusive"
    assert one.p_not_worse is not None
    assert one.p_not_worse < 0.05
    assert one.answer == "holds"
    assert "Worse by 10 % or more is excluded (one-sided p_Holm" in claim_text.sentence(one)


def test_a_table_of_claims_fits_the_screen(tmp_path: Path) -> None:
    declared = (("work", "work_to_target", "better"), ("time", "seconds_to_target", "not-worse"))
    results = simulated(0.7, 0.05, 10, np.random.default_rng(1), method="shf", task="tiny-curves")
    screen = io.StringIO()
    claim_text.table(claims.answer(study(tmp_path, *declared), results, {}), Console(file=screen, width=80))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split()[:2] == ["work", "tiny-curves"] and line.split()[-1] == "holds" for line in lines)
    assert "• time: it is so (shf against hf by seconds to target, expected not more)" in screen.getvalue()


def test_a_table_of_claims_says_that_seeds_were_too_few(tmp_path: Path) -> None:
    few = study(tmp_path, ("it", "work_to_target", "better"))
    results = simulated(0.7, 0.05, 3, np.random.default_rng(1), method="shf", task="tiny-curves")
    screen = io.StringIO()
    claim_text.table(claims.answer(few, results, {}), Console(file=screen, width=80))
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "(n too" in screen.getvalue()
