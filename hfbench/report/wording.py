"""Wording that tables, sentences and reports share: numbers, levels, p values, verdicts in their colours."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator

from rich import box
from rich.console import Console, ConsoleOptions
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from hfbench.statistics.difference import Difference

COLOURS = {
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
    "inconclusive": "yellow",
    "synergy": "green",
    "antagonism": "red",
}


def colour(verdict: str) -> str:
    return next(shade for word, shade in COLOURS.items() if word in verdict)


def level(c: Difference) -> str:
    return f"{100 * (1 - c.alpha):g} %"


def percent(margin: float) -> str:
    return f"{100 * (margin - 1):.3g} %"


def digits(value: float) -> str:
    """A ratio."""
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    return f"{value:.2f}" if 0.095 <= value < 99.95 else f"{value:.2g}"


def is_bounded(low: float, high: float) -> bool:
    """Whether a ratio's interval has an end: that of too few pairs goes from 0 to inf, or is not known."""
    return low > 0 or high < math.inf


def interval(low: float, high: float) -> str:
    """The ends of a ratio's interval; a dash for one that has none."""
    return f"{digits(low)}-{digits(high)}" if is_bounded(low, high) else "–"


def sureness(c: Difference) -> list[str]:
    """`95 % CI 0.58-0.78`, and the p value, if there is one."""
    ends = interval(c.ci_low, c.ci_high) if is_bounded(c.ci_low, c.ci_high) else "unbounded"
    return [f"{level(c)} CI {ends}", *tested(c)]


def number(value: float | None) -> str:
    """An amount of something, or a dash."""
    if value is None:
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def p_value(p: float | None) -> str:
    """Three decimals without the leading zero."""
    if p is None:
        return "–"
    return "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def leading_p(c: Difference) -> tuple[float | None, str]:
    """The adjusted p value the verdict rests on, and its test."""
    return (c.p_tost_holm, "TOST") if c.verdict == "equivalent" else (c.p_holm, "Wilcoxon")


def tested(c: Difference) -> list[str]:
    """`Wilcoxon p_Holm = .031`, if there is a p value."""
    p, test = leading_p(c)
    return [] if p is None else [f"{test} {adjusted(p)}"]


def adjusted(p: float) -> str:
    """`p_Holm = .031` or `p_Holm < .001`."""
    return f"p_Holm {'' if p < 0.001 else '= '}{p_value(p).replace('<', '< ')}"


def grid_of(title: Text) -> Table:
    return Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)


class Name:
    """A name in a table, broken after `_`, `-`, `.` or `/` where its column is narrow."""

    def __init__(self, name: str) -> None:
        self.parts = re.findall("[^-_./]+[-_./]*|[-_./]+", name)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        lengths = [len(part) for part in self.parts]
        return Measurement(max(lengths, default=0), sum(lengths))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        lines = [""]
        for part in self.parts:
            if len(lines[-1]) + len(part) <= options.max_width:
                lines[-1] += part
            else:
                lines.append(part)
        yield Text("\n".join(filter(None, lines)), overflow="fold")


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
