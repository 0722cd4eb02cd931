"""Comparisons in words: the tables at the end of a study, the sentence behind each row, and both as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hfbench.config.measures import MEASURES
from hfbench.messages import count
from hfbench.records.recorded_study import EARLY
from hfbench.report.document import literal, row_of
from hfbench.report.wording import (
    Name,
    colour,
    digits,
    grid_of,
    interval,
    leading_p,
    level,
    number,
    p_value,
    percent,
    sentence_list,
    sureness,
)
from hfbench.statistics.comparisons import Comparison

if TYPE_CHECKING:
    import pandas as pd

OF_WHOLE_RUNS = ("seconds", "products", "final_test_error", EARLY)


def table(comparisons: Sequence[Comparison], console: Console, records: pd.DataFrame | None = None) -> None:
    """Prints, per task, every method against the baseline, the sentences, and with `records` each method's medians."""
    for task in dict.fromkeys(comparison.task for comparison in comparisons):
        group = [comparison for comparison in comparisons if comparison.task == task]
        console.print(_verdict_table(group))
        console.print(sentence_list((sentences(comparison), comparison.verdict) for comparison in group))
        if records is not None:
            console.print(_median_table(medians(records, group)))


def _verdict_table(group: Sequence[Comparison]) -> Table:
    first = group[0]
    title = Text.assemble((first.task, "bold"), f" · {MEASURES[first.cost].title} against ", (first.baseline, "bold"))
    grid = grid_of(title)
    grid.add_column("method", min_width=8)
    for name in ("ratio", f"{level(first)} CI", "p Holm", "w/l/t", "solved"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("verdict", min_width=12)
    for comparison in group:
        grid.add_row(
            Name(comparison.method), *cells(comparison), Text(comparison.verdict, style=colour(comparison.verdict))
        )
    return grid


def cells(c: Comparison) -> tuple[str, ...]:
    """What a row of a verdict table says between the method and the verdict."""
    counts = f"{c.wins}/{c.losses}/{c.ties}", f"{c.solved}/{c.solved_baseline}"
    return _ratio(c), interval(c.ci_low, c.ci_high), p_value(leading_p(c)[0]), *counts


def _median_table(rows: Sequence[dict[str, Any]]) -> Table:
    grid = grid_of(Text("medians over seeds (early: where the validation error is least)"))
    grid.add_column("method", min_width=8)
    for name in ("to target", "seconds", "products", "final\nerror", "stopped\nearly", "solved"):
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(Name(row["method"]), *median_cells(row))
    return grid


def median_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """What a row of `medians` says after the method."""
    cost = f">{number(row['tau'])}" if row["cost"] is None and row["n"] else number(row["cost"])
    others = (number(row[name]) for name in OF_WHOLE_RUNS)
    return cost, *others, f"{row['solved']}/{row['n']}"


def medians(records: pd.DataFrame, group: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Per method of one task's comparisons, the baseline first: medians over its runs.

    The cost to the target is None where the median run was censored at tau; the others are of whole runs, those that
    have a value. The test error at the least validation error is what stopping there would have given.
    """
    first = group[0]
    rows = []
    for method in (first.baseline, *(comparison.method for comparison in group)):
        runs = records[(records["task"] == first.task) & (records["method"] == method)]
        costs = runs[first.cost].astype(float)
        solved = costs <= first.tau
        typical = float(costs.where(solved, math.inf).median()) if len(runs) else math.inf
        spent = {name: _median(runs, name) for name in OF_WHOLE_RUNS}
        cost = typical if math.isfinite(typical) else None
        rows.append(
            {"method": method, "cost": cost, "tau": first.tau, **spent, "solved": int(solved.sum()), "n": len(runs)}
        )
    return rows


def _median(runs: pd.DataFrame, column: str) -> float | None:
    if column not in runs.columns:
        return None
    value = float(runs[column].astype(float).median())
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------- words


def sentences(comparison: Comparison) -> str:
    """What was found, on how many seeds and how sure, ending in the verdict; then what to know about it.

    Never "no difference": a large p value shows nothing.
    """
    c = comparison
    if c.n == 0:
        return f"On {c.task}, no seed was run for both {c.method} and {c.baseline}: {c.verdict}."
    on = f"On {c.task} ({count(c.n, 'paired seed')})"
    if c.unsolved:
        found = f"{on}, neither {c.method} nor {c.baseline} reached the target within the budget: {c.verdict}."
        return " ".join([found, "Raise the budget or ease the target.", *_left_out(c)])
    about = [*sureness(c), f"{c.wins}/{c.n} wins" + (f", {c.ties} ties" if c.ties else "")]
    bound, verb = {"≥": "at least ", "≤": "at most ", "": ""}[c.bound], MEASURES[c.cost].verb
    found = (
        f"{on}, {c.method} {verb} {bound}{digits(c.ratio)}x {MEASURES[c.cost].noun} of {c.baseline} "
        f"({', '.join(about)}): {c.verdict}."
    )
    return " ".join([found, *_remarks(c)])


def _remarks(c: Comparison) -> list[str]:
    remarks = []
    if c.verdict == "equivalent":
        differs = not c.ci_low <= 1 <= c.ci_high
        remarks.append(
            f"{'Different, but by less than' if differs else 'They differ by less than'} {percent(c.margin)}."
        )
    if c.solved < c.n or c.solved_baseline < c.n:
        remarks.append(
            f"Target reached by {c.method} in {c.solved}/{c.n} and by {c.baseline} in {c.solved_baseline}/{c.n}; "
            f"the others count as the budget, {number(c.tau)}."
        )
    if c.solved == 0 or c.solved_baseline == 0:
        remarks.append(_censored(c))
    remarks.extend(_left_out(c))
    if c.verdict.startswith("inconclusive"):
        remarks.extend(_advice(c))
    return remarks


def _censored(c: Comparison) -> str:
    """What a ratio means when one of the two never reached the target, so that its every cost is the budget."""
    kind, some = ("lower", c.solved_baseline) if c.solved == 0 else ("upper", c.solved)
    if some == c.n:
        return f"The true ratio is unknown; this one is its {kind} bound."
    others = c.n - some
    return (
        f"In {count(some, 'seed')} the ratio is a {kind} bound, in the other{f' {others}' * (others > 1)}, "
        "where neither reached the target, it is unknown and counts as 1."
    )


def _left_out(c: Comparison) -> list[str]:
    return [f"{count(c.missing, 'seed')} run for only one of the two left out."] if c.missing else []


def _advice(c: Comparison) -> list[str]:
    """What would make an inconclusive comparison conclusive."""
    advice = []
    if c.p_holm is None:
        differ = f"{c.informative or 'none'} of the pairs {'differs' if c.informative == 1 else 'differ'}"
        among = f" among {c.family} comparisons" if c.family > 1 else ""
        advice.append(f"{differ.capitalize()}, and p can get below {c.alpha:g}{among} only if {c.least_pairs} do.")
    if not c.enough_solved:
        advice.append(
            "Too few pairs reached the target: a larger budget or an easier target tells more than more seeds."
        )
    elif c.needed is not None and not c.beyond_margin:  # beyond it, seeds for a p value are all that it lacks
        shown = f"a difference of {percent(c.margin)}, or equivalence, with 80 % power"
        many = f"About {c.needed} paired seeds would show {shown}."
        near = f"The ratio is too near the margin of {percent(c.margin)} for {count(c.n, 'seed')} to tell."
        advice.append(many if c.needed > c.n else near)
    return advice


def _ratio(c: Comparison) -> str:
    return "–" if math.isnan(c.ratio) else f"{c.bound}{digits(c.ratio)}x"


# ---------------------------------------------------------------- Markdown and JSON


def markdown(comparisons: Sequence[Comparison]) -> str:
    """One table and a list of sentences per task, names escaped; for the note MLflow shows and for reports."""
    parts = []
    for task in dict.fromkeys(comparison.task for comparison in comparisons):
        group = [comparison for comparison in comparisons if comparison.task == task]
        first = group[0]
        head = ("method", "ratio", f"{level(first)} CI", "p Holm", "wins/losses/ties", "solved", "verdict")
        lines = [f"### {literal(task)}: {MEASURES[first.cost].title} against {literal(first.baseline)}", ""]
        lines += [row_of(head), row_of(["---"] * len(head))]
        lines += [
            row_of((*map(literal, (comparison.method, *cells(comparison))), f"**{comparison.verdict}**"))
            for comparison in group
        ]
        parts.append("\n".join([*lines, "", *(f"- {literal(sentences(comparison))}" for comparison in group)]))
    return "\n\n".join(parts) + "\n"


def rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Plain rows that JSON and Parquet hold as they are, each with its sentences."""
    return [{**comparison.to_row(), "sentence": sentences(comparison)} for comparison in comparisons]
