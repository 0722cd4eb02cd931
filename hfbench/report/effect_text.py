"""Effects of a factorial ablation in words: a table per task, the sentence behind each row, and Markdown.

"cut off" is the share of runs without the target: at the `from` and at the `to` end, or of an interaction, of all.

`names` gives each factor's two ends in words: {"solver": ("cg", "lsmr"), ...}, the `from` end first.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hfbench.config.measures import MEASURES
from hfbench.messages import count, level_text
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
    p_value,
    pairs_text,
    percent,
    ratio_phrase,
    ratio_text,
    sentence_list,
    stacked,
    sureness,
)
from hfbench.statistics.difference import by_task
from hfbench.statistics.factorial import Effect, Names

UNREACHED = "Raise the budget or ease the target."
HEAD = ("p Holm", "w/l/t", "cut off")


def table(effects: Sequence[Effect], names: Names, console: Console, variant: str = "") -> None:
    """Prints, per task, every effect and the sentences behind them; fits 80 columns."""
    for group in by_task(effects):
        console.print(_effect_table(group, variant))
        console.print(sentence_list((sentence(effect, names), effect.verdict) for effect in group))


def _effect_table(group: Sequence[Effect], variant: str) -> Table:
    first = group[0]
    title = Text.assemble((first.task, "bold"), f" · effects on {_title(first)}", named(variant))
    grid = grid_of(title, caption="; ".join(_before(group)))
    grid.add_column("effect", overflow="fold", min_width=14)
    for name in ("ratio", f"{level_text(first.level)} CI", *HEAD):
        grid.add_column(name, justify="right")
    grid.add_column("verdict", min_width=12)
    for effect in group:
        told = stacked(cells(effect, first.level))
        grid.add_row(Name(" × ".join(effect.factors)), *told, Verdict(effect.verdict))
    return grid


def _before(group: Sequence[Effect]) -> list[str]:
    return earlier_verdicts((" × ".join(effect.factors), effect) for effect in group)


def cells(one: Effect, usual: float) -> tuple[str, ...]:
    """What a row of an effects table says between the effect and the verdict, where the head says the usual level."""
    counts = pairs_text(one.wins, one.losses, one.ties, one.unknown)
    ends = (one.censored_from, one.censored_to) if one.kind == "main effect" else (one.censored,)
    cut = "–" if one.n == 0 else "/".join(map(_share, ends))
    return (
        ratio_text(one.ratio_low, one.ratio_high),
        interval_cell(one.ci_low, one.ci_high, one.ci_level, usual),
        p_value(leading_p(one)[0]),
        counts,
        cut,
    )


def markdown(effects: Sequence[Effect], names: Names) -> str:
    """One table and a list of sentences per task, names escaped."""
    parts = []
    for group in by_task(effects):
        first, usual = group[0], group[0].level
        head = ("effect", "ratio", f"{level_text(usual)} CI", "p Holm", "wins/losses/ties", "cut off", "verdict")
        lines = [f"### {literal(first.task)}: effects on {_title(first)}", ""]
        lines += [row_of(head), row_of(["---"] * len(head))]
        rows = [(" × ".join(effect.factors), *cells(effect, usual)) for effect in group]
        lines += [
            row_of((*map(literal, row), f"**{effect.verdict}**")) for row, effect in zip(rows, group, strict=True)
        ]
        lines += [line for told in _before(group) for line in ("", f"{literal(capital(told))}.")]
        parts.append("\n".join([*lines, "", *(f"- {literal(sentence(effect, names))}" for effect in group)]))
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- words


def sentence(effect: Effect, names: Names) -> str:
    """What changing a factor does to the cost, or two factors together, and how sure; then what to know about it."""
    c = effect
    changes = [f"{factor} {' -> '.join(names[factor])}" for factor in c.factors]
    if c.n == 0:
        return f"On {c.task}, no seed was run in all {c.cells} cells; {' and '.join(changes)}: {c.verdict}."
    on = f"On {c.task} ({count(c.n, 'seed')})"
    if c.censored == 1:
        return f"{on}, no run reached the target; {' and '.join(changes)}: {c.verdict}. {UNREACHED}"
    cost = MEASURES[c.cost].noun
    about = f"({', '.join(_about(c))}): {c.verdict}."
    if c.kind == "main effect":
        by = ratio_phrase(c.ratio_low, c.ratio_high).replace("x", "") or "a factor without bound"
        found = f"{on}, {changes[0]} multiplies {cost} by {by} {about}"
    else:
        share = ratio_phrase(c.ratio_low, c.ratio_high) or "an unknown share of"
        found = (
            f"{on}, {' and '.join(changes)} together take {share} {cost} that their effects multiplied would give "
            f"{about}"
        )
    return " ".join([found, *_remarks(c, names)])


def _about(c: Effect) -> list[str]:
    where = "cheaper" if c.kind == "main effect" else "below 1"
    return [*sureness(c), f"{where} in {c.wins}/{c.n}" + (f", {count(c.ties, 'tie')}" if c.ties else "")]


def _remarks(c: Effect, names: Names) -> list[str]:
    remarks = []
    if c.verdict == "equivalent":
        differs = c.at_full_level and not c.ci_low <= 1 <= c.ci_high
        known = "Different, but by less than" if differs else "The ends differ by less than"
        remarks.append(f"{known} {percent(c.margin)}.")
    if c.censored_from or c.censored_to:
        remarks.append(_cut_off(c, names))
    if c.missing:
        remarks.append(f"{count(c.missing, 'seed')} not run in all {c.cells} cells left out.")
    remarks += looked_at(c)
    if c.verdict.startswith("inconclusive"):
        remarks.extend(_advice(c))
    return remarks


def _cut_off(c: Effect, names: Names) -> str:
    """How many runs did not reach the target, and what that makes of the ratio."""
    if c.kind == "interaction":
        return (
            f"{_share(c.censored)} of the runs did not reach the target: their seeds bound the interaction on one side "
            "or not at all, and count so in p and the interval."
        )
    first, second = names[c.factors[0]]
    cut = (
        f"{_share(c.censored_from)} of the runs at {first} and {_share(c.censored_to)} at {second} did not reach the "
        "target"
    )
    return f"{cut}: the ratio is known within bounds."


def _advice(c: Effect) -> list[str]:
    """What would make an inconclusive effect conclusive."""
    advice = []
    if c.p_holm is None:
        few = "Too few seeds: with" if c.informative == c.n else f"The effect is 1 in {c.ties} of {c.n} seeds: with"
        others = "" if c.informative == c.n else " others"
        advice.append(
            f"{few} fewer than {c.least_pairs}{others} no p value of this family of {c.family} gets under {c.alpha:g}."
        )
    if not c.enough_solved:
        advice.append("Too many runs were cut off: a larger budget or an easier target tells more than more seeds.")
    elif c.needed is not None and c.needed > c.n:
        shown = "or equivalence, " if c.kind == "main effect" else ""
        effect = f"an effect of {percent(c.margin)}, {shown}with 80 % power"
        advice.append(f"About {c.needed} fresh seeds, judged alone, would show {effect}.")
    elif c.needed is not None:
        advice.append(f"The ratio is too near the margin of {percent(c.margin)} for {count(c.n, 'seed')} to tell.")
    return advice


def _title(c: Effect) -> str:
    return f"{MEASURES[c.cost].title}, {count(c.n, 'seed')} in {count(c.cells, 'cell')}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %" if share == 0 or share >= 0.01 else "<1 %"
