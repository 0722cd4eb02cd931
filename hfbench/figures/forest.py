"""Forest plots: ratios with their intervals beside the margin within which methods count as equivalent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hfbench.config.measures import MEASURES
from hfbench.figures.axes import log_ticks, place_ticks, short_number
from hfbench.figures.style import (
    FAINT,
    INK,
    Style,
    blank,
    paragraph,
    save,
    styles,
    text_width,
    theme,
    without_mathtext,
    wrapped,
)
from hfbench.messages import level_text
from hfbench.statistics.comparisons import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDEST = 64.0  # ratios beyond this factor leave the axis as arrows
PANEL = 3.4  # inches
GAP = 0.22
NEUTRAL = Style(INK, (), "o")


@dataclass(frozen=True)
class ForestRow:
    """One line of a forest plot; interval and ratio may end at 0 or inf, the ratio is NaN where there is no pair."""

    label: str
    ratio_low: float
    ratio_high: float
    low: float
    high: float
    verdict: str = ""
    group: str = ""  # heading, printed where it changes
    solved: str = ""
    method: str | None = None  # whose colour and marker to use
    level: float | None = None  # of the interval; None: that of the figure

    @property
    def has_end(self) -> bool:
        """Whether its interval says anything."""
        return not (self.low == 0 and math.isinf(self.high))

    @property
    def is_bound(self) -> bool:
        return self.ratio_low != self.ratio_high and not math.isnan(self.ratio_low)


class DrawnEffect(Protocol):
    """A main effect or an interaction on one task, as a ratio of costs; `factorial.Effect` is one."""

    @property
    def task(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def ratio_low(self) -> float: ...
    @property
    def ratio_high(self) -> float: ...
    @property
    def ci_low(self) -> float: ...
    @property
    def ci_high(self) -> float: ...
    @property
    def ci_level(self) -> float: ...
    @property
    def verdict(self) -> str: ...


def comparison_rows(comparisons: Iterable[Comparison]) -> list[ForestRow]:
    """A row per comparison under its task: who reached the target, method against baseline, of n pairs."""
    return [
        ForestRow(
            label=c.method, ratio_low=c.ratio_low, ratio_high=c.ratio_high, low=c.ci_low, high=c.ci_high,
            verdict=c.verdict, group=c.task, solved=f"{c.solved} vs {c.solved_baseline} of {c.n}", method=c.method,
            level=c.ci_level,
        )
        for c in comparisons
    ]  # fmt: skip


def effect_rows(effects: Iterable[DrawnEffect]) -> list[ForestRow]:
    """A row per effect of a factorial study under its task."""
    return [
        ForestRow(
            e.name.replace(":", " × "), e.ratio_low, e.ratio_high, e.ci_low, e.ci_high, e.verdict, e.task,
            level=e.ci_level,
        )
        for e in effects
    ]  # fmt: skip


def comparisons_forest(
    comparisons: Sequence[Comparison], path: str | Path, *, title: str = "", methods: Sequence[str] | None = None
) -> list[Path]:
    """`forest` of comparisons with one baseline, cost, margin and level."""
    if not comparisons:
        return forest([], path, margin=1.1, title=title)
    first = comparisons[0]
    measure = f"{MEASURES[first.cost].title}, ratio to {first.baseline}"
    level = 1 - first.alpha
    return forest(
        comparison_rows(comparisons), path, margin=first.margin, measure=measure, level=level, title=title,
        methods=methods,
    )  # fmt: skip


@theme()
def forest(
    rows: Sequence[ForestRow],
    path: str | Path,
    *,
    margin: float,
    measure: str = "ratio",
    level: float = 0.95,
    title: str = "",
    methods: Sequence[str] | None = None,
) -> list[Path]:
    """Draws each row's ratio and interval on a log axis, [1/margin, margin] shaded, with numbers and verdict beside.

    Ends of intervals outside the axis, infinite ones too, are arrows. A ratio that is known within bounds has a bar
    between them, with a marker at each that is finite. A filled marker has a verdict other than inconclusive. The head
    names `level`, or the level of all rows if they share one; an interval of another has its own beside its numbers.
    Rows with a `method` wear its style by its place in `methods` (default: in order of appearance).
    """
    looks = styles(methods or [row.method for row in rows if row.method is not None])
    own = {row.level for row in rows if row.level is not None and row.has_end}
    level = own.pop() if len(own) == 1 else level  # the one of all rows stands in the head
    lines = _lines(rows)
    columns = {
        f"ratio [{level_text(level)} CI]": [_numbers(row, level) for row in rows],
        "reached": [without_mathtext(row.solved) for row in rows],
        "verdict": [without_mathtext(row.verdict) for row in rows],
    }
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    figure, axes, edges = _layout(lines, columns, title, _footnote(rows, margin, level))
    low, high = _limits(rows, margin)
    axes.axvspan(max(1 / margin, low), min(margin, high), color="#000000", alpha=0.08, linewidth=0)
    axes.axvline(1.0, color=INK, linewidth=0.9)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    place_ticks(axes.xaxis, log_ticks(low, high))
    axes.set_xlabel(without_mathtext(measure), labelpad=17)
    for text, side, aside in (("← less", "right", -6), ("more →", "left", 6)):
        axes.annotate(
            text, (1.0, 0.0), xycoords=("data", "axes fraction"), xytext=(aside, -24), textcoords="offset points",
            ha=side, va="center", fontsize="small", color=FAINT,
        )  # fmt: skip
    _names(axes, lines)
    _columns(axes, lines, rows, columns, edges)
    for height, _, row in lines:
        if row is not None:
            _interval(axes, row, height, looks.get(row.method or "", NEUTRAL), (low, high))
    return save(figure, path)


def _lines(rows: Sequence[ForestRow]) -> list[tuple[float, str, ForestRow | None]]:
    """(height, text, row) of every line downwards from 0: headings have no row; names of several lines take room."""
    lines: list[tuple[float, str, ForestRow | None]] = []
    height, group = 0.0, ""
    for row in rows:
        if row.group != group:
            height -= 0.35 if lines else 0.0
            lines.append((height, without_mathtext(row.group), None))
            height, group = height - 1.0, row.group
        text = wrapped(row.label, 34)
        extra = 0.35 * text.count("\n")
        lines.append((height - extra, text, row))
        height -= 1.0 + 2 * extra
    return lines


def _own_level(row: ForestRow, level: float) -> str:
    """The level of a row's interval where it is another one and the interval has an end."""
    if row.level is None or not row.has_end or level_text(row.level) == level_text(level):
        return ""
    return level_text(row.level)


def _numbers(row: ForestRow, level: float) -> str:
    if math.isnan(row.ratio_low):
        return "no pair"
    if row.ratio_low == 0 and math.isinf(row.ratio_high):
        return "open"
    if math.isinf(row.ratio_low):
        ratio = "∞"
    elif row.ratio_low == 0 or math.isinf(row.ratio_high):
        ratio = f"≤{short_number(row.ratio_high)}" if row.ratio_low == 0 else f"≥{short_number(row.ratio_low)}"
    else:
        ratio = "-".join(dict.fromkeys(short_number(end) for end in (row.ratio_low, row.ratio_high)))
    ends = ("∞" if math.isinf(end) else short_number(end) for end in (row.low, row.high))
    own = _own_level(row, level)
    return f"{ratio} [{', '.join(ends)}]" + (f" at {own}" if own else "")


def _limits(rows: Sequence[ForestRow], margin: float) -> tuple[float, float]:
    """An axis around 1, twice the margin and all finite positive ends, no wider than 1/64 to 64."""
    ends = [
        end
        for row in rows
        for end in (row.ratio_low, row.ratio_high, row.low, row.high)
        if math.isfinite(end) and end > 0
    ]
    low = max(min([margin**-2, *ends]), 1 / WIDEST)
    high = min(max([margin**2, *ends]), WIDEST)
    room = max((high / low) ** 0.06, 1.04)
    return low / room, high * room


def _interval(axes: Axes, row: ForestRow, height: float, look: Style, limits: tuple[float, float]) -> None:
    """The interval with arrows where it leaves the axis, and on it the ratio, or its bounds with a bar between."""
    if math.isnan(row.ratio_low):
        return
    low, high = limits
    start, end = max(row.low, low), min(row.high, high)
    axes.plot([start, end], [height, height], color=look.colour, linewidth=1.8, solid_capstyle="butt")
    if row.is_bound:
        bar = [min(max(bound, low), high) for bound in (row.ratio_low, row.ratio_high)]
        axes.plot(bar, [height, height], color=look.colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
    for beyond, end, arrow in ((row.low < low, low, "<"), (row.high > high, high, ">")):
        if beyond:
            axes.plot([end], [height], arrow, color=look.colour, markersize=7, clip_on=False, zorder=3)
    decided = row.verdict and not row.verdict.startswith("inconclusive")
    face = look.colour if decided else "white"
    for ratio in dict.fromkeys((row.ratio_low, row.ratio_high)):
        if low <= ratio <= high:
            axes.plot([ratio], [height], **look.points, markersize=6.5, markerfacecolor=face, zorder=4)


# ---------------------------------------------------------------- text beside the axis


def _layout(
    lines: Sequence[tuple[float, str, ForestRow | None]], columns: dict[str, list[str]], title: str, note: str
) -> tuple[Figure, Axes, list[float]]:
    """A figure as wide as its texts need: names, axis, columns; the columns' left edges in inches from the axis."""
    probe = blank(1, 1)
    left = max([1.0, *(text_width(probe, text, "normal" if row else "bold") for _, text, row in lines)]) + 0.35
    edges, edge = [], GAP
    for head, cells in columns.items():
        edges.append(edge)
        edge += max(text_width(probe, text, "bold") for text in (head, *cells)) + GAP
    width = max(left + PANEL + edge, 5.0)
    note = paragraph(note, width)
    above, below = 0.32 + 0.3 * bool(title), 0.86 + 0.16 * (note.count("\n") + 1)
    rows = 1.0 - min((height for height, _, _ in lines), default=0.0)
    body = 0.27 * max(rows, 2.0)
    height = above + body + below
    figure = blank(width, height)
    axes = figure.add_axes((left / width, below / height, PANEL / width, body / height))
    axes.set_ylim(0.5 - max(rows, 2.0), 0.5)
    figure.text(0.5, 0.07 / height, note, ha="center", va="bottom", fontsize="small", color=FAINT)
    if title:
        figure.text(
            0.5, 1 - 0.1 / height, without_mathtext(title), ha="center", va="top", weight="bold", fontsize="large"
        )
    return figure, axes, edges


def _font(bold: bool) -> dict[str, Any]:
    return {"fontsize": "small", "weight": "bold" if bold else "normal"}


def _footnote(rows: Sequence[ForestRow], margin: float, level: float) -> str:
    text = f"Shaded: a difference below {100 * (margin - 1):.3g} %. Filled: a verdict. Arrow: the interval goes on."
    text += " Bar: the ratio lies in it, since runs were cut off." * any(row.is_bound for row in rows)
    own = any(_own_level(row, level) for row in rows)
    text += f" Where a level stands beside an interval, it has that one, not {level_text(level)}." * own
    return text + " Reached: runs at the target, method vs baseline." * any(row.solved for row in rows)


def _names(axes: Axes, lines: Sequence[tuple[float, str, ForestRow | None]]) -> None:
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(True, axis="x")
    for height, text, row in lines:
        indent = -0.12 / PANEL
        axes.text(
            indent, height, text, transform=axes.get_yaxis_transform(), ha="right", va="center_baseline",
            linespacing=1.0, color=INK, **_font(row is None),
        )  # fmt: skip


def _columns(
    axes: Axes,
    lines: Sequence[tuple[float, str, ForestRow | None]],
    rows: Sequence[ForestRow],
    columns: dict[str, list[str]],
    edges: Sequence[float],
) -> None:
    heights = {id(row): height for height, _, row in lines if row is not None}
    where = axes.get_yaxis_transform()
    for edge, (head, cells) in zip(edges, columns.items(), strict=True):
        at = 1 + edge / PANEL
        axes.text(at, 1.1, head, transform=where, va="center_baseline", color=FAINT, fontsize="small")
        for row, text in zip(rows, cells, strict=True):
            decided = head == "verdict" and not text.startswith("inconclusive")
            axes.text(at, heights[id(row)], text, transform=where, va="center_baseline", color=INK, **_font(decided))
