"""Axes: labels of columns, logarithmic or linear scale, ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hfbench.config.measures import MEASURES
from hfbench.figures.style import FAINT, Style, without_mathtext
from hfbench.records.trace import COLUMNS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

Array = NDArray[np.float64]

LABELS = {"distinct": "distinct cases touched (passes)"}  # of what is neither a measure nor a column of a trace
LOG_FROM = 3.0  # ratio of the largest to the smallest value from which a log axis is used
MOST_TICKS = 7
CHARACTER = 0.03  # width of one in a tick's text, and of the gap to the next, as a share of the axis


def wants_log(values: Array) -> bool:
    """Whether all values are positive and span a factor of three."""
    return bool(values.size and values.min() > 0 and values.max() / values.min() >= LOG_FROM)


def fit(axes: Axes, which: str, values: Iterable[float], log: bool | None = None, pad: float = 0.05) -> bool:
    """Scale, limits and ticks of the axis `which` ("x" or "y") around the finite values; whether its scale is log.

    `log` None decides by `wants_log`. On a log axis values that are not positive are left out.
    """
    from matplotlib.ticker import MaxNLocator

    shown = np.array([value for value in values if math.isfinite(value)], dtype=float)
    log = wants_log(shown) if log is None else log
    shown = shown[shown > 0] if log else shown
    if not shown.size:
        return False
    low, high = float(shown.min()), float(shown.max())
    if log:
        room = max(high / low, 1.5) ** pad
        low, high = low / room, high * room
    else:
        room = pad * (high - low) or 0.1 * abs(high) or 1.0
        low, high = low - room, high + room
    axis = axes.xaxis if which == "x" else axes.yaxis
    if log:
        (axes.set_xscale if which == "x" else axes.set_yscale)("log")
        place_ticks(axis, log_ticks(low, high, character=CHARACTER if which == "x" else 0.0))
    else:
        axis.set_major_locator(MaxNLocator(MOST_TICKS - 1))
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    return log


def place_ticks(axis: Axis, ticks: Sequence[float]) -> None:
    """These ticks with plain numbers and none between them."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: tick_text(value)))
    axis.set_minor_formatter(NullFormatter())


STEPS = (
    (1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.5, 3, 4, 5, 6, 7, 8, 9),
    (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
    (1, 1.5, 2, 3, 4, 6, 8),
    (1, 2, 3, 5),
    (1, 2, 5),
    (1, 3),
    (1,),
)


def log_ticks(low: float, high: float, most: int = MOST_TICKS, character: float = CHARACTER) -> list[float]:
    """Round numbers in [low, high], as many as fit: 1, 1.1, 1.2, … or 1, 1.5, 2, 3, 4, … or 1, 2, 3, 5 or 1, 2, 5 or 1.

    Evenly spaced where the ends differ by less than a factor of 1.6. No texts of characters that wide touch.
    """
    from matplotlib.ticker import MaxNLocator

    if high / low < 1.6:
        ticks = [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)]
        return [tick for tick in ticks if low <= tick <= high]
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in STEPS:
        candidates = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
        ticks = [tick for tick in candidates if low <= tick <= high]
        if len(ticks) <= most and not _touch(ticks, math.log(high / low) * character):
            return ticks
    return ticks[:: math.ceil(len(ticks) / most)]


def _touch(ticks: Sequence[float], character: float) -> bool:
    """Whether the texts of two ticks touch on a log axis, each centred below its tick."""
    widths = [character * (len(tick_text(tick)) + 1) for tick in ticks]
    gaps = [math.log(right / left) for left, right in pairwise(ticks)]
    return any(gap < (left + right) / 2 for gap, (left, right) in zip(gaps, pairwise(widths), strict=True))


def tick_text(value: float) -> str:
    """A number of an axis without powers of ten: 250, 20k, 1.5M."""
    for least, unit, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / unit:g}{letter}"
    return f"{value:g}"


def short_number(value: float) -> str:
    """A number of a table: two decimals, or two significant digits where that says more."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.2f}" if 0.095 <= abs(value) < 99.95 else f"{value:.2g}" if abs(value) < 0.095 else f"{value:.0f}"


def label(column: str) -> str:
    """Label of a measure, or of a column of a trace, on an axis."""
    if column in MEASURES:
        return MEASURES[column].label or MEASURES[column].title
    declared = COLUMNS[column].label if column in COLUMNS else LABELS.get(column, "")
    return declared or column.replace("_", " ")


def end_marker(axes: Axes, x: float, y: float, look: Style) -> None:
    """The method's marker where its line ends."""
    axes.plot(
        [x], [y], **look.points, markersize=6.5, markeredgecolor="white", markeredgewidth=0.8, zorder=4, clip_on=False
    )


def remark(axes: Axes, text: str) -> None:
    """A few small words above the panel's right end, clear of the data."""
    axes.set_title(without_mathtext(text), loc="right", fontsize="small", color=FAINT)


def nothing(axes: Axes, text: str = "nothing to show") -> None:
    """Says so in an empty panel."""
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=FAINT)
    axes.tick_params(left=False, bottom=False, labelleft=False, labelbottom=False)  # the locators may be shared
