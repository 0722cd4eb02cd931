"""The headline of a study, word by word: who won, with the figure, whatever came out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support.result_tables import runs, simulated

from hfbench.config.hypotheses import Hypothesis
from hfbench.report.headline import Headline, headline, headline_markdown, plain
from hfbench.statistics.claims import Claim
from hfbench.statistics.comparisons import compare
from hfbench.statistics.findings import Findings

BASE = {seed: 100.0 + seed for seed in range(8)}


def of(records: pd.DataFrame, claims: tuple[Claim, ...] = (), **counts: int) -> Headline:
    """The headline of a study with these runs against hf, some missing or failed."""
    tasks, methods = (list(dict.fromkeys(records[name])) for name in ("task", "method"))
    study: Any = SimpleNamespace(tasks=tasks, baseline="hf")
    lists = {name: [None] * counts.get(name, 0) for name in ("missing", "failed")}
    recorded: Any = SimpleNamespace(study=study, specs=[None] * 16, **lists)
    comparisons = compare(records, "hf", methods=methods, tasks=tasks) if len(methods) > 1 else []
    return headline(recorded, Findings(comparisons, claims, (), {}, (), ()))


def times(**ratios: float) -> pd.DataFrame:
    """hf, and methods at so many times its cost."""
    costs = {name: {seed: cost * ratio for seed, cost in BASE.items()} for name, ratio in ratios.items()}
    return runs({"hf": BASE, **costs})


def test_who_is_better_won() -> None:
    said = of(times(lsmr=0.5))
    figure = "0.50x the work of hf (95 % CI 0.50-0.50, Wilcoxon p_Holm = .008, 8 seeds): clearly better"
    assert plain(said.line) == f"lsmr won: {figure}."
    assert (
        headline_markdown(said, "Is it?")
        == f"**lsmr won**: {figure.replace('p_Holm', chr(92).join(['p', '_Holm']))}.\n\nIs it?"
    )


def test_of_several_the_least_ratio_won_and_the_others_are_named_by_their_verdicts() -> None:
    said = plain(of(times(adam=0.8, lsmr=0.5, lsqr=2.0)).line)
    assert said.startswith("lsmr won: 0.50x the work of hf (")
    assert said.endswith(": clearly better. Clearly better: adam 0.80x. Clearly worse: lsqr 2.00x.")


def test_few_seeds_are_counted_once() -> None:
    records = times(lsmr=0.5)
    said = plain(of(records[records["seed"] < 3]).line)
    assert "(75 % CI 0.50-0.50, n = 3): inconclusive (n too small)." in said


def test_a_baseline_that_beats_all_won() -> None:
    assert plain(of(times(lsmr=2.0)).line).startswith("hf won: lsmr needed 2.00x the work of hf (95 % CI")
    said = plain(of(times(lsmr=3.0, adam=2.0)).line)
    assert said.startswith("hf won: adam needed 2.00x")
    assert said.endswith(": clearly worse. Clearly worse: lsmr 3.00x.")


def test_a_tie_has_no_winner() -> None:
    assert plain(of(times(lsmr=1.001)).line).startswith(
        "lsmr and hf are equivalent: lsmr needed 1.00x the work of hf ("
    )
    open_ = simulated(1.0, 0.3, 10, np.random.default_rng(0))
    assert plain(of(open_).line).startswith("lsmr and hf are undecided: lsmr needed ")
    both = pd.concat([open_, times(lsqr=3.0).query("method == 'lsqr'")], ignore_index=True)
    said = plain(of(both).line)
    assert said.startswith("No method won against hf.")
    assert "Inconclusive: lsmr " in said


def test_runs_without_a_ratio_are_said_in_words() -> None:
    never = runs({"hf": dict.fromkeys(BASE, None), "lsmr": dict.fromkeys(BASE, None)})
    assert "neither lsmr nor hf reached the target: inconclusive" in plain(of(never).line)
    unpaired = runs({"hf": {0: 1.0}, "lsmr": {1: 1.0}})
    assert "no seed was run for both lsmr and hf: inconclusive" in plain(of(unpaired).line)
    lost = runs({"hf": dict.fromkeys(BASE, None), "lsmr": BASE}, tau=50.0)
    assert plain(of(lost).line).startswith("lsmr")


def test_a_single_method_is_compared_with_nothing() -> None:
    assert plain(of(runs({"hf": BASE})).line) == "Nothing is compared: hf is the only method."


def test_what_is_missing_or_failed_is_said() -> None:
    assert plain(of(times(lsmr=0.5), missing=2).line).endswith("clearly better. Of 16 runs, 2 not recorded.")
    said = plain(of(times(lsmr=0.5), missing=2, failed=1).line)
    assert said.endswith(" Of 16 runs, 2 not recorded and 1 failed.")


def test_of_several_tasks_the_line_has_a_word_and_a_ratio_for_each() -> None:
    tables = [times(lsmr=ratio).assign(task=task) for task, ratio in (("usps", 0.5), ("mnist", 0.25), ("curves", 2.0))]
    said = of(pd.concat(tables, ignore_index=True))
    assert plain(said.line) == "lsmr won on usps (0.50x), mnist (0.25x); hf won on curves (2.00x)."
    assert [plain(line).partition(": ")[0] for line in said.details] == ["On usps", "On mnist", "On curves"]
    assert headline_markdown(said, "").startswith(
        "**lsmr won** on usps (0.50x), mnist (0.25x); **hf won** on curves (2.00x).\n\n"
    )


def test_claims_are_answered_first() -> None:
    records = times(lsmr=0.5)
    (c,) = compare(records, "hf")
    lean = Hypothesis("lean", "it is lean", "lsmr", "hf", "work_to_target", "better")
    said = of(records, (Claim(lean, c, None),))
    assert plain(said.line) == "lean holds. lsmr won on usps (0.50x)."
    assert [plain(line) for line in said.details][0] == "lean (it is lean): holds. "


@pytest.mark.parametrize(
    "evil", ["<img src=x onerror=alert(1)>", "![x](http://x.example/y.png)", "a\n\n# b\x1b[31m\u202e"]
)
def test_texts_are_no_markup(evil: str) -> None:
    said = headline_markdown(Headline(evil, [evil]), evil)
    assert "<img" not in said
    assert "![x](" not in said
    assert not any(line.startswith("#") for line in said.splitlines())
    assert not set("\x1b\u202e") & set(said)
    assert not set("\x1b\u202e") & set(plain(evil))
