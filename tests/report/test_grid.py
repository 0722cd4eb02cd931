"""Tables at 80 columns: no word is broken while another column has room to give."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from rich.text import Text
from support.result_tables import runs

from hfbench.commands.run_plan import Estimate, run_table
from hfbench.report.comparison_text import table
from hfbench.report.grid import Pieces
from hfbench.report.wording import Name, Verdict, grid_of
from hfbench.statistics.comparisons import compare

NAMES = ("shf-lsmr-chapelle-erhan-dynamic-batch-with-validation", "hf_lsmr_chapelle-erhan_dynamic", "shf_lsmr", "a")


def printed(grid: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(grid)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def words(*names: str) -> list[str]:
    return [word for name in names for word in re.findall("[a-z]+", name)]


def whole(text: str) -> set[str]:
    return set(re.findall("[A-Za-z]+", text))


@pytest.mark.parametrize("bounds", [False, True])
def test_a_table_of_verdicts_breaks_no_word_at_80_columns(bounds: bool) -> None:
    hf = dict.fromkeys(range(5), 100.0)
    costs = {name: {seed: 98.0 + 3 * seed for seed in range(5)} for name in NAMES}
    found = compare(runs({"hf": hf, **costs}), "hf", methods=NAMES)
    if bounds:
        found = [replace(c, ratio_low=0.65, ratio_high=0.67, unknown=2) for c in found]
    console = Console(file=io.StringIO(), width=80)
    table(found, console)
    text = console.file.getvalue().split(" •")[0]  # type: ignore[attr-defined]
    assert max(map(len, text.splitlines())) <= 80
    assert set(words(*NAMES)) <= whole(text)
    assert "…" not in text
    assert text.count("(n too small)") == text.count("inconclusive") == len(NAMES)
    assert text.count("(93.7 %)") == len(NAMES)


def test_a_plan_breaks_no_word_of_a_name() -> None:
    found = [Estimate("mnist-10000-deep-variant", name, 7, 3600.0, 7200.0, 1234.0, 10**9, False) for name in NAMES]
    text = printed(run_table(found))
    assert max(map(len, text.splitlines())) <= 80
    assert set(words(*NAMES, "mnist-deep-variant")) <= whole(text)


def grid_with(name: str, others: int, width: int) -> str:
    grid = grid_of(Text("grid"))
    grid.add_column("name", overflow="fold")
    for index in range(others):
        grid.add_column(f"{index}")
    grid.add_row(Name(name), *["needs all this"] * others)
    return printed(grid, width)


def test_where_there_is_room_nothing_is_broken() -> None:
    assert "one-long-name   needs all this   needs all this" in grid_with("one-long-name", 2, 80)


def test_others_give_room_before_a_name_breaks_its_words() -> None:
    text = grid_with("preconditioned-gradient", 3, 45)
    assert {"preconditioned", "gradient", "needs", "all", "this"} <= whole(text)
    assert max(map(len, text.splitlines())) <= 45


def test_a_name_that_does_not_fit_is_folded_and_nothing_else_is() -> None:
    text = grid_with("LevenbergMarquardtGaussNewton", 4, 45)
    assert text.count("needs") == text.count("this") == 4
    assert "LevenbergMarquardtGaussNewton" in "".join(re.findall(r"^ (\w+)", text, re.M)).replace("name", "")
    assert max(map(len, text.splitlines())) <= 45


def test_pieces_stay_whole() -> None:
    assert Verdict("inconclusive (n too small)").pieces == ["inconclusive ", "(n too small)"]
    assert Verdict("clearly better").pieces == ["clearly ", "better"]
    assert "".join(Verdict("inconclusive (before the first look)").pieces) == "inconclusive (before the first look)"
    assert Name("solver × a.b_c").pieces == ["solver ", "× ", "a.", "b_", "c"]
    assert printed(Pieces(["ab-", "cd"]), 3).split() == ["ab-", "cd"]
