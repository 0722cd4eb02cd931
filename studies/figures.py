"""Figures over the recorded traces. matplotlib and seaborn are imported only when a figure is drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

# Petroff's eight colours (arXiv 2107.02270): told apart under every common colour blindness, the dashes without colour.
COLOURS = ("#1845fb", "#ff5e02", "#c91f16", "#c849a9", "#adad7d", "#86c8dd", "#578dff", "#656364")
DASHES = ((), (4, 1.5), (1, 1.2), (4, 1.2, 1, 1.2), (7, 1.5, 1, 1.2, 1, 1.2))
GREY = "#656364"
LEAST_SEEDS = 5  # a median of fewer survivors would be a picture of the slowest or luckiest runs

AXES = {
    "work": "work (passes over the training cases)",
    "seconds": "training time (s)",
    "products": "Gauss-Newton products",
    "distinct": "distinct cases touched (passes)",
    "iteration": "outer iteration",
    "test_error": "test error",
    "validation_error": "validation error",
    "validation_objective": "validation objective",
}


@dataclass(frozen=True)
class Band:
    """Median and quartiles over seeds on a grid of x, shape (points,) each; cut where too few seeds remain."""

    x: Array
    median: Array
    low: Array
    high: Array


def resample(x: Array, y: Array, grid: Array) -> Array:
    """y as a step function of x at the points of `grid`: the last record carried forward, nothing invented.

    x is increasing. NaN before the first and after the last record.
    """
    last = np.searchsorted(x, grid, side="right") - 1
    values = np.where(last >= 0, y[np.maximum(last, 0)], np.nan)
    values[grid > x[-1]] = np.nan
    return values


def band(traces: Sequence[pd.DataFrame], x: str, y: str, points: int = 400) -> Band | None:
    """The runs' curves on one geometric grid, and their quartiles wherever min(5, runs) of them have a value.

    None if there is no such place. Values that are not finite count as absent.
    """
    curves = [curve for curve in (_curve(trace, x, y) for trace in traces) if curve is not None]
    if not curves:
        return None
    start = min(xs[xs > 0][0] for xs, _ in curves)
    grid = np.geomspace(start, max(xs[-1] for xs, _ in curves), points)
    grid[-1] = max(xs[-1] for xs, _ in curves)
    values = np.array([resample(xs, ys, grid) for xs, ys in curves])
    kept = np.isfinite(values).sum(axis=0) >= min(LEAST_SEEDS, len(traces))
    if not kept.any():
        return None
    low, median, high = np.nanpercentile(values[:, kept], [25, 50, 75], axis=0)
    return Band(grid[kept], median, low, high)


def _curve(trace: pd.DataFrame, x: str, y: str) -> tuple[Array, Array] | None:
    """The records with finite x and y, in the order of x; None if none has a positive x, which a log axis needs."""
    xs, ys = (np.asarray(trace[name].astype(float), dtype=float) for name in (x, y))
    usable = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[usable], ys[usable]
    order = np.argsort(xs, kind="stable")
    return (xs[order], ys[order]) if (xs > 0).any() else None


def convergence(
    traces: Mapping[tuple[str, int], pd.DataFrame],
    path: str | Path,
    *,
    x: Sequence[str] = ("work", "seconds"),
    y: str = "test_error",
    target: float | None = None,
    title: str = "",
    methods: Sequence[str] | None = None,
) -> list[Path]:
    """Draws y against each cost in `x`, one panel each, and writes `path`.png and `path`.svg; returns the two paths.

    `traces` holds the trace of each (method, seed) of one task. A line is the median over seeds, its band the
    quartiles, a tick its end where fewer than min(5, n) seeds still run; dots on the target line are runs reaching
    it. Log axes.

    A method's colour and dashes follow its place in `methods` (default: the order in `traces`), so that the figures of
    a study agree.
    """
    import seaborn as sns
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    groups: dict[str, list[pd.DataFrame]] = {name: [] for name in methods or ()}
    for (method, _), trace in traces.items():
        groups.setdefault(method, []).append(trace)
    styles = {method: style(place) for place, method in enumerate(groups)}
    style_of_study = {**sns.axes_style("ticks"), **sns.plotting_context("paper", font_scale=1.1)}
    with rc_context({**style_of_study, "svg.hashsalt": "hfbench", "grid.alpha": 0.3, "axes.unicode_minus": False}):
        figure = Figure(figsize=(4.2 * len(x) + 1.7, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(x), sharey=True, squeeze=False)[0]
        drawn: dict[str, Any] = {}
        for axes, column in zip(panels, x, strict=True):
            drawn |= _panel(axes, groups, column, y, target, styles)
        panels[0].set_ylabel(AXES.get(y, y))
        sns.despine(fig=figure)
        figure.suptitle(_literal(title), weight="bold")
        if drawn:
            _legend(figure, drawn, groups)
        return _save(figure, Path(path))


def style(place: int) -> dict[str, Any]:
    """Colour and dashes of the method at that place in a study: forty combinations before they repeat."""
    return {"color": COLOURS[place % len(COLOURS)], "dashes": DASHES[place % len(DASHES)]}


def _panel(
    axes: Axes,
    groups: Mapping[str, Sequence[pd.DataFrame]],
    x: str,
    y: str,
    target: float | None,
    styles: Mapping[str, dict[str, Any]],
) -> dict[str, Any]:
    """Draws one panel; returns the line of each method that has a curve."""
    lines, bands = {}, []
    for method, traces in groups.items():
        found = band(traces, x, y)
        if found is None:
            continue
        colour = styles[method]["color"]
        axes.fill_between(found.x, found.low, found.high, color=colour, alpha=0.18, linewidth=0)
        (lines[method],) = axes.plot(found.x, found.median, linewidth=1.8, **styles[method])
        axes.plot(found.x[-1], found.median[-1], marker="|", color=colour, markersize=11, markeredgewidth=1.8)
        bands.append(found)
        if target is not None:
            reached = [at for at in (_first_at(trace, x, y, target) for trace in traces) if at is not None]
            axes.plot(reached, [target] * len(reached), "o", color=colour, markersize=3.5, alpha=0.7, markeredgewidth=0)
    _scales(axes, bands, target)
    axes.set_xlabel(AXES.get(x, x))
    return lines


def _first_at(trace: pd.DataFrame, x: str, y: str, target: float) -> float | None:
    """The first x at which y is at or below the target."""
    curve = _curve(trace, x, y)
    if curve is None:
        return None
    reached = np.flatnonzero(curve[1] <= target)
    return float(curve[0][reached[0]]) if reached.size and curve[0][reached[0]] > 0 else None


def _scales(axes: Axes, bands: Sequence[Band], target: float | None) -> None:
    """Log axes over what the bands show, with plain numbers at 1, 2, 5 × powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_yscale("log")
    shown = np.concatenate([np.concatenate([one.low, one.high]) for one in bands]) if bands else np.array([])
    shown = np.append(shown[shown > 0], target if target is not None and target > 0 else [])
    if shown.size:
        axes.set_ylim(shown.min() / 1.12, shown.max() * 1.12)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(True)
    if target is not None:
        axes.axhline(target, color=GREY, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
        axes.annotate(
            f"target {target:g}", (0.01, target), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", fontsize="small", color=GREY,
        )  # fmt: skip


def _legend(figure: Any, lines: Mapping[str, Any], groups: Mapping[str, Sequence[pd.DataFrame]]) -> None:
    """The methods, with their numbers of seeds where these differ, at the right; how to read the figure, below."""
    counts = {len(groups[method]) for method in lines}
    same = len(counts) == 1
    names = [method if same else f"{method} (n = {len(groups[method])})" for method in lines]
    figure.legend(
        list(lines.values()),
        [_literal(textwrap.fill(name, 22)) for name in names],
        loc="outside right upper",
        frameon=False,
        handlelength=3.5,
    )
    seeds, least = "n seeds as listed", f"min({LEAST_SEEDS}, n)"
    if same:
        (n,) = counts
        seeds, least = f"n = {n} seeds per method", str(min(LEAST_SEEDS, n))
    caption = f"Median and quartiles, {seeds}. Tick: fewer than {least} go on. Dots: runs reaching the target."
    figure.supxlabel(caption, fontsize="small", color=GREY)


def _literal(text: str) -> str:
    """Text with its dollars kept from being read as formulas."""
    return text.replace("$", r"\$")


def _save(figure: Any, path: Path) -> list[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    png, svg = (path.with_name(path.name + suffix) for suffix in (".png", ".svg"))
    figure.savefig(png, dpi=160)
    figure.savefig(svg, metadata={"Date": None})  # the same figure is the same file
    return [png, svg]
