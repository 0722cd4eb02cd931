"""Effects in words: sentences, tables and Markdown."""

import io
import math
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console
from support.factorial_tables import FACTORS, by_name, cut, design, study
from support.result_tables import runs

from hfbench.report.effect_text import cells, markdown, sentence, table
from hfbench.statistics.factorial import Design, effects

NAMES = {"solver": ("cg", "lsmr"), "preconditioner": ("martens", "chapelle-erhan"), "scheduler": ("fixed", "dynamic")}


def exact(joint=1.0, n=8, **ratios):
    """Costs without noise: every factor multiplies by its ratio."""
    costs = {}
    for method, levels in design().levels.items():
        factor = math.prod(ratios.get(name, 1.0) ** one for name, one in zip(FACTORS, levels, strict=False))
        costs[method] = {s: (100.0 + s) * factor * (joint if all(levels) else 1.0) for s in range(n)}
    return runs(costs, tau=1e6)


def test_the_sentences_word_by_word():
    found = by_name(exact(solver=0.8, preconditioner=1.25, joint=0.5))
    assert sentence(found["preconditioner"], NAMES) == (
        "On usps (8 seeds), preconditioner martens -> chapelle-erhan multiplies the work by 0.88 "
        "(95 % CI 0.88-0.88, Wilcoxon p_Holm = .023, cheaper in 8/8): clearly better."
    )
    assert sentence(found["solver:preconditioner"], NAMES) == (
        "On usps (8 seeds), solver cg -> lsmr and preconditioner martens -> chapelle-erhan together take 0.50x the "
        "work that their effects multiplied would give (95 % CI 0.50-0.50, Wilcoxon p_Holm = .023, below 1 in 8/8): "
        "synergy."
    )
    equal = sentence(by_name(exact(solver=0.97))["solver"], NAMES)
    assert "TOST p_Holm < .001" in equal
    assert equal.endswith("equivalent. Different, but by less than 10 %.")


def test_few_seeds_say_how_many_would_be_enough():
    words = sentence(by_name(exact(solver=0.5, n=6))["solver"], NAMES)
    assert words.endswith(
        "cheaper in 6/6): inconclusive (n too small). Too few seeds: with fewer than 7 no p value of this family of 3 "
        "gets under 0.05."
    )
    tied = by_name(exact(n=8))["solver"]
    assert "The effect is 1 in 8 of 8 seeds" in sentence(replace(tied, verdict="inconclusive (n too small)"), NAMES)
    none = sentence(by_name(exact()[lambda t: (t["seed"] == 1) == (t["method"] == "m00")])["solver"], NAMES)
    assert none == "On usps, no seed was run in all 4 cells; solver cg -> lsmr: inconclusive (n too small)."
    noisy = by_name(study(n=10, sd=0.4))["solver"]
    assert (
        f"About {noisy.needed} fresh seeds, judged alone, would show an effect of 10 %, or equivalence, with"
        in sentence(noisy, NAMES)
    )


def test_where_no_run_reached_the_target_no_effect_is_told():
    records = study(n=8)
    for method in records["method"].unique():
        records = cut(records, method, range(8))
    for one in by_name(records, budget={"usps": 300.0}).values():
        words = sentence(one, NAMES)
        assert words.startswith("On usps (8 seeds), no run reached the target; ")
        assert words.endswith("Raise the budget or ease the target.")
        assert cells(one, 0.95)[:2] == ("–", "–")


def test_what_the_budget_did_is_said():
    records = study(n=10, sd=0.02, solver=-0.3)
    dear = by_name(cut(records, "m00", range(5)), budget={"usps": 300.0})
    words = sentence(dear["solver"], NAMES)
    assert "multiplies the work by at most " in words
    assert "25 % of the runs at cg and 0 % at lsmr did not reach the target: the ratio is known within bounds." in words
    assert "12 % of the runs did not reach the target: their seeds bound the" in sentence(
        dear["solver:preconditioner"], NAMES
    )
    assert "at least" in sentence(by_name(cut(records, "m11", range(10)), budget={"usps": 300.0})["solver"], NAMES)
    both = by_name(cut(cut(records, "m00", range(9)), "m10", range(9)), budget={"usps": 300.0})["solver"]
    assert "multiplies the work by a factor without bound" in sentence(both, NAMES)


@pytest.mark.parametrize("long", [False, True])
def test_the_table_fits_eighty_columns_and_loses_nothing(long):
    records = pd.concat([study(k=3, n=20, joint=-0.3), study(k=3, n=20, task="curves", tau=120.0, scheduler=-0.9)])
    plan, names = design(3), NAMES
    if long:
        renamed = {old: f"{old}-with-a-name-that-goes-on" for old in FACTORS}
        plan = Design(tuple(renamed.values()), plan.levels)
        names = {renamed[old]: ends for old, ends in NAMES.items()}
    console = Console(file=io.StringIO(), width=80)
    table(effects(records, plan), names, console)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "curves · effects on work to target (passes), 20 seeds in 8 cells" in text
    joined = "".join(text.split())
    for part in ("synergy", "20/0/0", "0%/0%", "solver", "chapelle-erhan", *plan.factors):
        assert part in joined


def test_markdown_escapes_names():
    levels = {"m00": (0, 0), "m01": (0, 1), "m10": (1, 0), "m11": (1, 1)}
    names = {"a|b": ("<x>", "y"), "c": ("0", "1")}
    text = markdown(effects(exact(solver=0.5), Design(("a|b", "c"), levels)), names)
    assert "| a\\|b | 0.50x | 0.50-0.50 | .023 | 8/0/0 | 0 %/0 % | **clearly better** |" in text
    assert "| a\\|b × c | 1.00x |" in text
    assert "a\\|b &lt;x&gt; -&gt; y multiplies" in text
