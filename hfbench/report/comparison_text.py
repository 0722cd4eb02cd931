"""Comparisons in words: the tables at the end of a study, the sentence behind each row, and both as Markdown."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hfbench.config.measures import AT_TARGET, MEASURES
from hfbench.messages import count, level_text
from hfbench.records.recorded_study import EARLY
from hfbench.report.document import literal, row_of
from hfbench.report.wording import (
    Name,
    Verdict,
    capital,
    earlier_verdicts,
    grid_of,
    interval_cell,
    leading_p,
    looked_at,
    named,
    number,
    p_value,
    pairs_text,
    percent,
    ratio_phrase,
    ratio_text,
    sentence_list,
    stacked,
    sureness,
)
from hfbench.statistics.comparisons import Comparison
from hfbench.statistics.difference import by_task
from hfbench.statistics.looks import EARLY as BEFORE_LOOKS
from hfbench.statistics.run_costs import REACHED, costs_by_seed, on_one_hardware

if TYPE_CHECKING:
    import pandas as pd

# What medians are taken of besides the cost to the target, with its heading on the screen and in a report.
OF_RUNS = {
    "seconds": ("seconds", "seconds"),
    "products": ("products", "products"),
    AT_TARGET: ("error at\ntarget", "test error at target"),
    "final_test_error": ("final\nerror", "final test error"),
    EARLY: ("stopped\nearly", "stopped early"),
}


def table(
    comparisons: Sequence[Comparison], console: Console, records: pd.DataFrame | None = None, variant: str = ""
) -> None:
    """Prints, per task, every method against the baseline, the sentences, and with `records` each method's medians.

    The head names the variant of the study, if it is one.
    """
    for group in by_task(comparisons):
        console.print(_verdict_table(group, variant))
        console.print(sentence_list((sentences(comparison), comparison.verdict) for comparison in group))
        if records is not None:
            console.print(_median_table(medians(records, group)))


def _verdict_table(group: Sequence[Comparison], variant: str) -> Table:
    first = group[0]
    title = Text.assemble(
        (first.task, "bold"), f" · {MEASURES[first.cost].title} against ", (first.baseline, "bold"), named(variant)
    )
    grid = grid_of(title, caption=endings(group))
    grid.add_column("method", overflow="fold", min_width=8)
    for name in ("ratio", f"{level_text(first.level)} CI", "p Holm", "w/l/t", "solved"):
        grid.add_column(name, justify="right")
    grid.add_column("verdict", min_width=12)
    for comparison in group:
        told = stacked(cells(comparison, first.level))
        grid.add_row(Name(comparison.method), *told, Verdict(comparison.verdict))
    return grid


def cells(c: Comparison, usual: float) -> tuple[str, ...]:
    """What a row of a verdict table says between the method and the verdict, where the head says the usual level."""
    counts = pairs_text(c.wins, c.losses, c.ties, c.unknown), f"{c.solved}/{c.solved_baseline}"
    ends = interval_cell(c.ci_low, c.ci_high, c.ci_level, usual)
    return ratio_text(c.ratio_low, c.ratio_high), ends, p_value(leading_p(c)[0]), *counts


def endings(group: Sequence[Comparison]) -> str:
    """What a table adds: how the runs without the target ended, by method, the baseline first; what was extended."""
    first = group[0]
    own = [(c.method, ending(c.cut_off, c.diverged, c.failed)) for c in group]
    counted = [(first.baseline, max((ending_of_baseline(c) for c in group), key=len)), *own]
    told = "; ".join(f"{method} {how}" for method, how in counted if how)
    lines = [f"not at the target: {told}"] if told else []
    if first.limit is None and any(c.cut_off or c.cut_off_baseline for c in group):
        lines.append(
            f"no limit of {MEASURES[first.cost].short} was given: what was cut off is known within bounds only"
        )
    return "; ".join([*lines, *earlier_verdicts((c.method, c) for c in group)])


def ending_of_baseline(c: Comparison) -> str:
    return ending(c.cut_off_baseline, c.diverged_baseline, c.failed_baseline)


def ending(cut_off: int, diverged: int, failed: int) -> str:
    """`2 cut off, 1 failed`."""
    kinds = ((cut_off, "cut off"), (diverged, "diverged"), (failed, "failed"))
    return ", ".join(f"{n} {how}" for n, how in kinds if n)


def _median_table(rows: Sequence[dict[str, Any]]) -> Table:
    grid = grid_of(Text("medians over seeds; stopped early: at the least validation error"))
    grid.add_column("method", overflow="fold", min_width=8)
    for name in median_heads(rows, 0):
        grid.add_column(name, justify="right")
    for row in rows:
        grid.add_row(Name(row["method"]), *median_cells(row))
    return grid


def median_heads(rows: Sequence[dict[str, Any]], kind: int) -> tuple[str, ...]:
    """The headings of `median_cells`, on the screen (0) or in a report (1)."""
    return "to target", *(heads[kind] for name, heads in OF_RUNS.items() if name in rows[0]), "solved"


def median_cells(row: dict[str, Any]) -> tuple[str, ...]:
    """What a row of `medians` says after the method."""
    bound = "" if row["known"] else ">"
    cost = "never" if row["cost"] is None and row["n"] and row["known"] else f"{bound}{number(row['cost'])}"
    others = (number(row[name]) for name in OF_RUNS if name in row)
    return cost, *others, f"{row['solved']}/{row['n']}"


def medians(records: pd.DataFrame, group: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Per method of one task's comparisons, the baseline first: medians over its runs.

    The cost to the target is not `known` where the median run was cut off: then it is more than what that one spent. It
    is None where the median run never gets there. The others are of whole runs, those that have a value. The test
    error at the least validation error is what stopping there would have given.
    """
    first = group[0]
    of_task = records[records["task"] == first.task]
    costed, timed = (on_one_hardware(of_task, cost) for cost in (first.cost, "seconds_to_target"))
    rows = []
    for method in (first.baseline, *(comparison.method for comparison in group)):
        runs = costed[costed["method"] == method]
        limit = math.inf if first.limit is None else first.limit
        costs = list(costs_by_seed(runs, first.cost, limit).values())
        low, high = (
            statistics.median([getattr(cost, end) for cost in costs]) if costs else math.nan for end in ("low", "high")
        )
        names = [name for name in OF_RUNS if name != AT_TARGET or name in records.columns]
        tables = {name: timed if name == "seconds" else of_task for name in names}
        spent = {name: _median(table[table["method"] == method], name) for name, table in tables.items()}
        solved = sum(cost.ended == REACHED for cost in costs)
        typical = {"cost": low if math.isfinite(low) else None, "known": low == high}
        rows.append({"method": method, **typical, **spent, "solved": solved, "n": len(runs)})
    return rows


def hardware_sentence(records: pd.DataFrame, task: str) -> str:
    """What hardware the task's seconds are of, and how many runs on other hardware they leave out; empty if unknown."""
    runs = records[records["task"] == task]
    timed = on_one_hardware(runs, "seconds_to_target")
    if "hardware" not in runs.columns or not timed["hardware"].any():
        return ""
    left = len(runs) - len(timed)
    others = f" The seconds of {count(left, 'run')} on other hardware are left out." if left else ""
    return f"Seconds are of {timed['hardware'].iloc[0]}.{others}"


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
    all_solved = c.solved == c.solved_baseline == c.n
    within = "" if c.limit is None or all_solved else f", limit {number(c.limit)}"
    on = f"On {c.task} ({count(c.n, 'paired seed')}{within})"
    if c.unsolved:
        found = f"{on}, neither {c.method} nor {c.baseline} reached the target: {c.verdict}."
        return " ".join([found, *_ended(c), "Raise the budget or ease the target.", *_left_out(c)])
    about = [*sureness(c), f"{c.wins}/{c.n} wins" + (f", {count(c.ties, 'tie')}" if c.ties else "")]
    verb, noun, phrase = MEASURES[c.cost].verb, MEASURES[c.cost].noun, ratio_phrase(c.ratio_low, c.ratio_high)
    needed = f"{c.method} {verb} {phrase} {noun} of {c.baseline}"
    if c.ratio_low == math.inf:
        needed = f"{c.method} never got where {c.baseline} did"
    elif c.ratio_high == 0:
        needed = f"{c.method} got where {c.baseline} never did"
    elif not phrase:
        needed = f"it is open what share of {noun} of {c.baseline} {c.method} {verb}"
    return " ".join([f"{on}, {needed} ({', '.join(about)}): {c.verdict}.", *_remarks(c)])


def _remarks(c: Comparison) -> list[str]:
    remarks = []
    if c.verdict == "equivalent":
        less = f"by less than {percent(c.margin)}"
        known = {"": f"They differ {less}", "better": f"Surely less, but {less}", "worse": f"Surely more, but {less}"}
        remarks.append(f"{known[c.differs]}.")
    if (resolution := MEASURES[c.cost].resolution) and c.is_bound and c.enough_solved:
        cases = resolution.removesuffix("_resolution")
        remarks.append(f"A {cases} error of 0 lies below what one {cases} case adds to it: it bounds the ratio.")
    remarks += [*_ended(c), *_left_out(c), *looked_at(c)]
    if c.verdict.startswith("inconclusive"):
        remarks.extend(_advice(c))
    return remarks


def _ended(c: Comparison) -> list[str]:
    """How the runs ended that did not reach the target, and what they count as."""
    if c.solved == c.solved_baseline == c.n:
        return []
    who = [
        f"{method} in {solved}/{c.n}{f' ({how})' if how else ''}"
        for method, solved, how in (
            (c.method, c.solved, ending(c.cut_off, c.diverged, c.failed)),
            (c.baseline, c.solved_baseline, ending_of_baseline(c)),
        )
    ]
    said = [f"Target reached by {' and by '.join(who)}."]
    if c.by_its_method:
        said.append("A run that diverged or failed never gets there.")
    if c.unknown:
        said.append(f"In {count(c.unknown, 'seed')} it is open which was cheaper.")
    return said


def _left_out(c: Comparison) -> list[str]:
    return [f"{count(c.missing, 'seed')} recorded for only one of the two left out."] if c.missing else []


def _advice(c: Comparison) -> list[str]:
    """What would make an inconclusive comparison conclusive."""
    advice = []
    if c.p_holm is None and c.verdict != BEFORE_LOOKS:
        differ = f"{c.informative or 'none'} of the pairs {'differs' if c.informative == 1 else 'differ'}"
        among = f" among {c.family} comparisons" if c.family > 1 else ""
        advice.append(f"{differ.capitalize()}, and p can get below {c.alpha:g}{among} only if {c.least_pairs} do.")
    if (c.cut_off or c.cut_off_baseline) and c.limit is None and (unit := MEASURES[c.cost].limit):
        advice.append(f"A limit in {unit}, the same for all runs, would tell more of those that were cut off.")
    elif not c.enough_solved:
        advice.append(
            "Too few pairs reached the target: a larger budget or an easier target tells more than more seeds."
        )
    elif c.planned is not None and c.n < c.planned:
        pass  # the planned seeds come first
    elif c.needed is not None and not c.beyond_margin:  # beyond it, seeds for a p value are all that it lacks
        shown = f"a difference of {percent(c.margin)}, or equivalence, with 80 % power"
        many = f"About {c.needed} fresh paired seeds, judged alone, would show {shown}."
        near = f"The ratio is too near the margin of {percent(c.margin)} for {count(c.n, 'seed')} to tell."
        advice.append(many if c.needed > c.n else near)
    return advice


# ---------------------------------------------------------------- Markdown and JSON


def markdown(comparisons: Sequence[Comparison]) -> str:
    """One table and a list of sentences per task, names escaped; for the note MLflow shows and for reports."""
    parts = []
    for group in by_task(comparisons):
        first = group[0]
        head = ("method", "ratio", f"{level_text(first.level)} CI", "p Holm", "wins/losses/ties", "solved", "verdict")
        told = endings(group)
        lines = [f"### {literal(first.task)}: {MEASURES[first.cost].title} against {literal(first.baseline)}", ""]
        lines += [row_of(head), row_of(["---"] * len(head))]
        lines += [
            row_of((*map(literal, (comparison.method, *cells(comparison, first.level))), f"**{comparison.verdict}**"))
            for comparison in group
        ]
        lines += ["", f"{literal(capital(told))}."] if told else []
        parts.append("\n".join([*lines, "", *(f"- {literal(sentences(comparison))}" for comparison in group)]))
    return "\n\n".join(parts) + "\n"


def rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Plain rows that JSON and Parquet hold as they are, each with its sentences."""
    return [{**comparison.to_row(), "sentence": sentences(comparison)} for comparison in comparisons]
