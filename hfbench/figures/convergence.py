"""Convergence: errors and objectives against what they cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.figures.axes import end_marker, fit, label, nothing, remark, tick_text, wants_log
from hfbench.figures.bands import Array, Band, band, by_method, caption, first_at
from hfbench.figures.style import INK, Style, method_legend, new_page, save, styles, theme

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Traces = Mapping[tuple[str, int], "pd.DataFrame"]


def convergence(
    traces: Traces,
    path: str | Path,
    *,
    x: str | Sequence[str] = ("work", "seconds"),
    y: str = "test_error",
    target: float | None = None,
    title: str = "",
    methods: Sequence[str] | None = None,
    cases: int | None = None,
) -> list[Path]:
    """Draws y against each cost in `x`, one panel each, and writes `path`.png and `path`.svg; returns the two paths.

    `traces` holds the trace of each (method, seed) of one task. A line is the median over seeds, its band the
    quartiles, a marker its end where fewer than min(5, n) seeds still run; ticks on the target line are runs reaching
    it. Axes are logarithmic where the values span a factor of three. The cost "distinct", in passes, needs the number
    of training cases; "distinct_cases" does not.

    A method's colour, dashes and marker follow its place in `methods` (default: the order in `traces`), so that the
    figures of a study agree. Above a panel stand the methods without its cost, and those that spend all of it at their
    first step, so that their curve is one point. Raises ConfigError for a column no trace has.
    """
    columns = (x,) if isinstance(x, str) else tuple(x)
    return _draw(traces, path, columns, y, len(columns), target, title, methods, cases)


def four_costs(
    traces: Traces,
    path: str | Path,
    *,
    y: str = "test_error",
    target: float | None = None,
    title: str = "",
    methods: Sequence[str] | None = None,
    cases: int | None = None,
) -> list[Path]:
    """Draws y against work, products, seconds and distinct cases on one sheet, two in a row, as `convergence` does.

    `cases`, the number of training cases, makes passes of the distinct cases.
    """
    columns = ("work", "products", "seconds", "distinct" if cases else "distinct_cases")
    return _draw(traces, path, columns, y, 2, target, title, methods, cases)


@theme()
def _draw(
    traces: Traces,
    path: str | Path,
    columns: Sequence[str],
    y: str,
    across: int,
    target: float | None,
    title: str,
    methods: Sequence[str] | None,
    cases: int | None,
) -> list[Path]:
    if cases:
        traces = {key: _with_distinct(trace, cases) for key, trace in traces.items()}
    groups = by_method(traces, methods)
    looks = styles(groups)
    groups = {method: runs for method, runs in groups.items() if runs}
    found = {(column, method): band(runs, column, y) for column in columns for method, runs in groups.items()}
    drawn = [method for method in groups if any(found[column, method] for column in columns)]
    there = [column for column in columns if any(found[column, method] for method in drawn)]
    points = [column for column in there if not any(_goes_on(found[column, method]) for method in drawn)]
    points = points if len(points) < len(there) else []  # a page must show something
    columns = [column for column in there if column not in points] or columns[:1]
    across = min(across, len(columns))
    counts = {method: len(groups[method]) for method in drawn}
    absent = [method for method in groups if method not in drawn]
    shown = [curve for (column, _), curve in found.items() if column in columns]
    heights = [value for curve in shown if curve for value in (*curve.low, *curve.high)]
    reached = {(column, method): _reached(groups[method], column, y, target) for column in columns for method in drawn}
    in_view = target is not None and (any(reached.values()) or _leaves_room(heights, target))
    figure, panels = new_page(
        (4.2, 3.5 if across == len(columns) else 3.1),
        (math.ceil(len(columns) / across), across),
        title=title,
        caption=" ".join([_caption(counts, shown, in_view, absent), *map(_left_out, points)]),
        legend=method_legend({method: looks[method] for method in drawn}, counts),
        sharey=True,
    )
    for axes in panels.flat[len(columns) :]:
        axes.remove()
    for axes, column in zip(panels.flat, columns, strict=False):
        _panel(axes, {method: found[column, method] for method in drawn}, looks)
        there_too = {method: reached[column, method] for method in drawn}
        widths = [value for method in drawn if (one := found[column, method]) for value in one.x]
        if widths and target is not None:
            _target(axes, target, there_too, looks) if in_view else _target_below(axes, target)
        fit(axes, "x", [*widths, *(place for places in there_too.values() for place in places)])
        axes.set_xlabel(label(column))
    if heights:
        fit(panels[0, 0], "y", [*heights, *([target] if target is not None and in_view else [])])
    for row in panels:
        row[0].set_ylabel(label(y))
    return save(figure, path)


def _caption(counts: Mapping[str, int], bands: Iterable[Band | None], in_view: bool, absent: list[str]) -> str:
    text = caption(counts)
    text += " Ticks on the target line: runs that reach it." * in_view
    text += " One point: all of the cost is spent in the first step." * any(
        curve and curve.x.size == 1 for curve in bands
    )
    return text + f" Without a curve: {', '.join(absent)}." * bool(absent)


def _panel(axes: Axes, bands: Mapping[str, Band | None], looks: Mapping[str, Style]) -> None:
    for method, curve in bands.items():
        if curve is not None:
            draw_band(axes, curve, looks[method])
            # Between dashes the last drop would not be seen, and the marker would float below the line.
            axes.vlines(curve.x[-1:], curve.median[-1:], curve.median[-2:-1] if _goes_on(curve) else curve.median[-1:],
                        color=looks[method].colour, linewidth=1.8)  # fmt: skip
    absent = [method for method, curve in bands.items() if curve is None]
    points = [method for method, curve in bands.items() if curve is not None and curve.x.size == 1]
    if len(absent) == len(bands):
        nothing(axes)
    else:
        remark(axes, ". ".join(_said(what, who) for what, who in (("without", absent), ("one point", points)) if who))


def _said(what: str, methods: Sequence[str]) -> str:
    return f"{what}: {', '.join(methods)}" if len(methods) < 3 else f"{what}: {len(methods)} methods"


def draw_band(axes: Axes, one: Band, look: Style, **line: Any) -> None:
    """The quartiles as a shade, the median as a line with the method's marker where it ends."""
    axes.fill_between(one.x, one.low, one.high, color=look.colour, alpha=0.16, linewidth=0, step=_steps(line))
    if one.x.size == 1:
        axes.vlines(one.x, one.low, one.high, color=look.colour, linewidth=1.8, alpha=0.5)
    axes.plot(one.x, one.median, linewidth=1.8, **look.line, **line)
    end_marker(axes, one.x[-1], one.median[-1], look)


def _steps(line: Mapping[str, Any]) -> Any:
    return str(line["drawstyle"]).removeprefix("steps-") if "drawstyle" in line else None


def _goes_on(curve: Band | None) -> bool:
    """Whether there is a curve, of more than one point."""
    return curve is not None and curve.x.size > 1


def _left_out(column: str) -> str:
    return f"No panel for {label(column)}: all are spent in the first step."


def _leaves_room(heights: Sequence[float], target: float) -> bool:
    """Whether the curves still take half of an axis that goes to the target, which no run reached."""
    values = np.array([value for value in (*heights, target) if math.isfinite(value)])
    values = np.log(values) if wants_log(values) else values
    return bool(values.size > 1 and np.ptp(values[:-1]) >= 0.5 * np.ptp(values))


def _target_below(axes: Axes, target: float) -> None:
    """Where the target lies that is too far below the curves to be on the axis."""
    axes.annotate(
        f"↓ target {tick_text(target)}, below this axis", (0.01, 0.0), xycoords="axes fraction", xytext=(0, 3),
        textcoords="offset points", fontsize="small", color=INK,
    )  # fmt: skip


def _target(axes: Axes, target: float, reached: Mapping[str, list[float]], looks: Mapping[str, Style]) -> None:
    """The target line, and on it a tick for each run that reached it."""
    axes.axhline(target, color=INK, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
    axes.annotate(
        f"target {tick_text(target)}", (0.01, target), xycoords=("axes fraction", "data"),
        xytext=(0, 3), textcoords="offset points", fontsize="small", color=INK,
    )  # fmt: skip
    for method, places in reached.items():
        heights = [target] * len(places)
        axes.plot(places, heights, "|", color=looks[method].colour, markersize=10, markeredgewidth=1.3, zorder=3)


def _reached(runs: Sequence[pd.DataFrame], x: str, y: str, target: float | None) -> list[float]:
    places = (first_at(trace, x, y, target) if target is not None else None for trace in runs)
    return [place for place in places if place is not None]


def _with_distinct(trace: pd.DataFrame, cases: int) -> pd.DataFrame:
    if "distinct_cases" not in trace.columns:
        return trace
    touched: Array = np.asarray(trace["distinct_cases"].astype(float), dtype=float)
    return trace.assign(distinct=touched / cases)
