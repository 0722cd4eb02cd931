"""Wording that tables, sentences and reports share: numbers, levels, p values, verdicts in their colours."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from rich import box
from rich.table import Table
from rich.text import Text

from hfbench.messages import count, level_text
from hfbench.report.grid import Grid, Pieces
from hfbench.statistics.difference import Difference
from hfbench.statistics.location_tests import TESTS

COLOURS = {
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
    "inconclusive": "yellow",
    "synergy": "green",
    "antagonism": "red",
}
BEFORE = {
    "extended": "Extended without having declared it; before",
    "part": "Judged before on more seeds",
    "earlier block": "An earlier block of seeds was judged too",
    "another rule": "Judged before by another test, level or margin",
}


def colour(verdict: str) -> str:
    return next(shade for word, shade in COLOURS.items() if word in verdict)


def capital(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def percent(margin: float) -> str:
    return f"{100 * (margin - 1):.3g} %"


def digits(value: float) -> str:
    """A ratio."""
    if value == 0 or math.isinf(value):
        return "∞" if value else "0"
    return f"{value:.2f}" if 0.095 <= value < 99.95 else f"{value:.2g}"


def is_bounded(low: float, high: float) -> bool:
    """Whether a ratio's interval has an end: that of too few pairs goes from 0 to inf, or is not known."""
    return 0 < low < math.inf or 0 < high < math.inf


def interval(low: float, high: float) -> str:
    """The ends of a ratio's interval, one of which may be open; a dash where both are."""
    if not is_bounded(low, high):
        return "–"
    if math.isinf(high):
        return f"≥{digits(low)}"
    return f"{digits(low)}-{digits(high)}" if low > 0 else f"≤{digits(high)}"


def interval_cell(low: float, high: float, level: float, usual: float) -> str:
    """An interval in a table whose head says the usual level; one of another level says its own: `0.63-0.81 (75 %)`."""
    ends, own = interval(low, high), level_text(level)
    return ends if not is_bounded(low, high) or own == level_text(usual) else f"{ends} ({own})"


def stacked(cells: Iterable[str]) -> list[str | Pieces]:
    """Cells of a table on the screen, which is narrow: an interval's level stands below it, ranges break after `-`."""
    return [cell.replace(" (", "\n(") if " (" in cell else Pieces(re.findall(r"\+.*|[^-+]+-?", cell)) for cell in cells]


def ratio_text(low: float, high: float) -> str:
    """A ratio in a table, `0.71x`, or what is known of it: `≤0.76x`, `≥1.3x`, `0.52-0.76x`, or a dash."""
    if low == high and low in (0, math.inf):
        return f"{digits(low)}x"
    if math.isnan(low) or not is_bounded(low, high):
        return "–"
    return f"{digits(low)}x" if digits(low) == digits(high) else f"{interval(low, high)}x"


def ratio_phrase(low: float, high: float) -> str:
    """The same in a sentence, after "needed"; empty where nothing is known."""
    if math.isnan(low) or not is_bounded(low, high):
        return ""
    if digits(low) == digits(high):
        return f"{digits(low)}x"
    if math.isinf(high):
        return f"at least {digits(low)}x"
    return f"between {digits(low)}x and {digits(high)}x" if low > 0 else f"at most {digits(high)}x"


def pairs_text(wins: int, losses: int, ties: int, unknown: int) -> str:
    """Seeds won, lost and tied, and how many may be any of these: `5/1/0`, `5/1/0+2?`."""
    return f"{wins}/{losses}/{ties}" + (f"+{unknown}?" if unknown else "")


def sureness(c: Difference) -> list[str]:
    """`95 % CI 0.58-0.78`, or `75 % CI 0.58-0.78, n = 3` where n allows no 95 %, and the p value, if there is one."""
    if not is_bounded(c.ci_low, c.ci_high):
        return [f"{level_text(c.level)} CI unbounded", *tested(c)]
    few = [] if c.at_full_level else [f"n = {c.n}"]
    return [f"{level_text(c.ci_level)} CI {interval(c.ci_low, c.ci_high)}", *few, *tested(c)]


def looked_at(c: Difference) -> list[str]:
    """Sentences on how often it was judged, and on how many seeds: what is planned, undeclared, or decided early."""
    said = []
    if c.planned is not None and c.n < c.planned and c.decided_at is None:
        said.append(f"Preliminary: {c.n} of {count(c.planned, 'planned seed')}.")
    if c.first_n is not None:
        said.append(f"{BEFORE[c.first_how]}: {c.first_verdict} with {count(c.first_n, 'seed')}.")
    if c.decided_at is not None:
        said.append(f"Decided at the declared look of {count(c.decided_at, 'seed')}, which this is.")
    return said


def earlier_verdicts(named: Iterable[tuple[str, Difference]]) -> list[str]:
    """What a table says of rows that were extended without a declared look; nothing where none was."""
    extended = "; ".join(f"{name} {c.first_verdict} with {c.first_n} seeds" for name, c in named if c.first_n)
    return [f"judged before without a declared look: {extended}"] if extended else []


def number(value: float | None) -> str:
    """An amount of something, or a dash."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.4 h`, `2.1 days`."""
    for unit, length, most in (("s", 1.0, 100), ("min", 60.0, 100), ("h", 3600.0, 48)):
        if seconds < most * length:
            value = seconds / length
            return f"{value:.0f} {unit}" if value >= 10 else f"{value:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"


def p_value(p: float | None) -> str:
    """Three decimals without the leading zero."""
    if p is None:
        return "–"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def leading_p(c: Difference) -> tuple[float | None, str]:
    """The adjusted p value the verdict rests on, and its test."""
    return (c.p_tost_holm, "TOST") if c.verdict == "equivalent" else (c.p_holm, TESTS[c.test].title)


def tested(c: Difference) -> list[str]:
    """`Wilcoxon p_Holm = .031`, if there is a p value."""
    p, test = leading_p(c)
    return [] if p is None else [f"{test} {adjusted(p)}"]


def adjusted(p: float) -> str:
    """`p_Holm = .031` or `p_Holm < .001`."""
    return f"p_Holm {'' if p < 0.001 else '= '}{p_value(p).replace('<', '< ')}"


def named(variant: str) -> str:
    """End of a table's head: the variant of the study that it is of, if it is of one."""
    return f" · {variant}" if variant else ""


def grid_of(title: Text, caption: str = "") -> Grid:
    return Grid(
        title=title, title_justify="left", title_style="", caption=Text(caption) if caption else None,
        caption_justify="left", caption_style="", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False,
    )  # fmt: skip


class Name(Pieces):
    """A name in a table, broken after `_`, `-`, `.`, `/` or a space where its column is narrow."""

    def __init__(self, name: str) -> None:
        super().__init__(re.findall("[^-_./ ]+[-_./ ]*|[-_./ ]+", name))


class Verdict(Pieces):
    """A verdict in its colour, broken between words, and not within a short remark: `inconclusive`, `(n too small)`."""

    def __init__(self, verdict: str) -> None:
        super().__init__(re.findall(r"\([^)]{1,11}\)|\S+ *", verdict), colour(verdict))


def sentence_list(told: Iterable[tuple[str, str]]) -> Table:
    """Sentences as bullets, each with the verdict it ends in, which is coloured; an empty line after the last."""
    return bullets(_coloured(sentence, verdict) for sentence, verdict in told)


def _coloured(sentence: str, verdict: str) -> Text:
    words = Text(sentence)
    words.highlight_words([f"{verdict}."], f"bold {colour(verdict)}")
    return words


def bullets(texts: Iterable[Text]) -> Table:
    """A list of texts, an empty line after the last."""
    grid = Table.grid(padding=(0, 1))
    for text in texts:
        grid.add_row(" •", text)
    grid.add_row()
    return grid
