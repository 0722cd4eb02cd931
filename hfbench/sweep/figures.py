"""Figures of a sweep: history, slices, contour, importance and carry-over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.figures.axes import fit, log_ticks, place_ticks, tick_text
from hfbench.figures.style import COLOURS, FAINT, INK, new_page, save, styles, theme, without_mathtext, wrapped
from hfbench.parts.hyperparameters import Choice, Search
from hfbench.sweep.trial_rows import OF_A_MISS, Point, front, is_log, unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, RED = COLOURS[:3]
PRUNED: dict[str, Any] = {"marker": "x", "color": FAINT, "linestyle": "none", "markersize": 4.5, "alpha": 0.8}
COMPLETE: dict[str, Any] = {
    "marker": "o",
    "color": BLUE,
    "linestyle": "none",
    "markersize": 4.5,
    "markeredgecolor": "white",
}
BEST: dict[str, Any] = {"marker": "*", "color": ORANGE, "linestyle": "none", "markersize": 13, "markeredgecolor": INK}
SO_FAR: dict[str, Any] = {"color": INK, "linewidth": 1.2}
UNTUNED: dict[str, Any] = {"color": FAINT, "linewidth": 0.9, "linestyle": (0, (5, 4))}
MOST_COLOUR = 5.0  # ratios beyond it, or below its inverse, have the same colour
BARS = {"fANOVA": BLUE, "PED-ANOVA": ORANGE}


@theme()
def history(shown: Sequence[Point], path: str | Path, *, measure: str, frozen: int, title: str = "") -> list[Path]:
    """Draws each trial's mean ratio to the first trial, in order, and the best complete one so far as a line."""
    able = [point for point in shown if point.complete and point.allowed]
    caption = "Ratio to the untuned method, geometric mean over the seeds of a trial."
    if not able:
        caption += " No trial is complete and keeps the constraint."
    if any(point.index == frozen for point in shown):
        caption += " Frozen is the best of those tested again on fresh seeds, which need not be the best here."
    figure, panels = new_page((6.4, 3.2), title=title, caption=caption, legend=[*_legend(shown, frozen), *_lines(able)])
    axes = panels[0, 0]
    _marks(axes, shown, lambda one: one.index, frozen)
    if able:
        best = np.minimum.accumulate([point.ratios[0] for point in able])
        axes.step([*(point.index for point in able), shown[-1].index], [*best, best[-1]], where="post", **SO_FAR)
    axes.axhline(1.0, **UNTUNED)
    fit(axes, "y", [point.ratios[0] for point in shown], log=True)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{measure}, ratio")
    return save(figure, path)


@theme()
def best_so_far(
    curves: Mapping[str, Sequence[tuple[float, float]]], path: str | Path, *, methods: Sequence[str], measure: str,
    title: str = "",
) -> list[Path]:  # fmt: skip
    """Draws, for each method, the best complete trial so far against the passes that its trials had taken.

    `methods` are the study's, which decide the colours.
    """
    from matplotlib.lines import Line2D

    looks = styles(methods)
    legend = [(Line2D([], [], **looks[method].line), method) for method in curves]
    caption = f"Geometric mean over a trial's seeds. A miss {OF_A_MISS}."
    figure, panels = new_page((6.4, 3.4), title=title, caption=caption, legend=legend)
    axes = panels[0, 0]
    for method, curve in curves.items():
        if curve:
            axes.step(*zip(*curve, strict=True), where="post", **looks[method].line)
            axes.plot(*([end] for end in curve[-1]), markersize=4, **looks[method].points)
    fit(axes, "x", [passes for curve in curves.values() for passes, _ in curve])
    fit(axes, "y", [best for curve in curves.values() for _, best in curve], log=True)
    axes.set_xlabel("passes that the trials have taken")
    axes.set_ylabel(f"{measure}, best so far")
    return save(figure, path)


@theme()
def slices(
    shown: Sequence[Point], parameters: Mapping[str, Search], path: str | Path, *, measure: str, frozen: int,
    title: str = "",
) -> list[Path]:  # fmt: skip
    """Draws the ratio against each setting: a dot per trial, and faint ones for each of its seeds."""
    across = min(3, len(parameters))
    shape = math.ceil(len(parameters) / across), across
    caption = "Large: trials, geometric mean over seeds. Small: their seeds. Dashed: the untuned method."
    figure, panels = new_page(
        (3.0, 2.5), shape, title=title, caption=caption, legend=_legend(shown, frozen), sharey=True
    )
    for axes in panels.flat[len(parameters) :]:
        axes.remove()
    first = next(point for point in shown if point.index == 0)
    for axes, (setting, search) in zip(panels.flat, parameters.items(), strict=False):
        _slice(axes, shown, setting, search, frozen)
        axes.axvline(_place(first.params[setting], search), **UNTUNED)
    fit(panels[0, 0], "y", [value for point in shown for value in point.by_seed.values()], log=True)
    for row in panels:
        row[0].set_ylabel(f"{measure}, ratio")
    return save(figure, path)


def _slice(axes: Axes, shown: Sequence[Point], setting: str, search: Search, frozen: int) -> None:
    for point in shown:
        at = _place(point.params[setting], search)
        axes.plot([at] * len(point.by_seed), list(point.by_seed.values()), ".", color=FAINT, markersize=2.5, alpha=0.5)
    _marks(axes, shown, lambda one: _place(one.params[setting], search), frozen)
    _scale(axes, "x", search)
    axes.set_xlabel(wrapped(_short(setting)), fontsize="small")


@theme()
def contour(
    shown: Sequence[Point], parameters: Mapping[str, Search], pairs: Sequence[tuple[str, str]], path: str | Path, *,
    measure: str, frozen: int, title: str = "",
) -> list[Path]:  # fmt: skip
    """Draws the ratio over pairs of settings, interpolated between the trials, which are marked."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    ratios = [point.ratios[0] for point in shown]
    ends = min(ratios), max(max(ratios), 1.01 * min(ratios))
    norm = LogNorm(*ends)
    caption = "Colours between the dots are interpolated from few trials: look at the dots first."
    figure, panels = new_page((3.3, 2.8), (1, len(pairs)), title=title, caption=caption)
    for axes, (x, y) in zip(panels.flat, pairs, strict=True):
        _surface(axes, shown, (x, y), parameters, norm)
        for point in shown:
            at = [_place(point.params[setting], parameters[setting]) for setting in (x, y)]
            look = BEST if point.index == frozen else COMPLETE if point.complete else PRUNED
            axes.plot(*([value] for value in at), **{**look, "color": INK if look is not BEST else ORANGE})
        for which, setting in (("x", x), ("y", y)):
            _scale(axes, which, parameters[setting])
        axes.set_xlabel(_short(x), fontsize="small")
        axes.set_ylabel(_short(y), fontsize="small")
        axes.grid(False)
    bar = figure.colorbar(ScalarMappable(norm, "viridis_r"), ax=list(panels.flat), shrink=0.9)
    bar.set_label(f"{measure}, ratio")
    place_ticks(bar.ax.yaxis, log_ticks(*ends))
    return save(figure, path)


def _surface(
    axes: Axes, shown: Sequence[Point], pair: tuple[str, str], parameters: Mapping[str, Search], norm: Any
) -> None:
    from scipy.interpolate import RBFInterpolator

    known = np.array(
        [[_place(point.params[setting], parameters[setting]) for setting in pair] for point in shown], dtype=float
    )
    scaled = np.column_stack([unit(known[:, i], parameters[setting]) for i, setting in enumerate(pair)])
    surface = RBFInterpolator(scaled, np.log([point.ratios[0] for point in shown]), smoothing=1.0, kernel="linear")
    grids = [
        np.geomspace(*_ends(parameters[s]), 60) if is_log(parameters[s]) else np.linspace(*_ends(parameters[s]), 60)
        for s in pair
    ]
    across, up = np.meshgrid(*grids)
    everywhere = zip(pair, (across, up), strict=True)
    where = np.column_stack([unit(grid.ravel(), parameters[setting]) for setting, grid in everywhere])
    heights = np.exp(surface(where)).reshape(across.shape).clip(norm.vmin, norm.vmax)
    axes.pcolormesh(across, up, heights, norm=norm, cmap="viridis_r", shading="gouraud", rasterized=True)


@theme()
def importance(shares: Mapping[str, Mapping[str, float]], path: str | Path, *, title: str = "") -> list[Path]:
    """Draws the share of each setting by both evaluators."""
    settings = list(next(iter(shares.values())))
    caption = (
        "Exploratory, without a test. fANOVA: share of the variance of the score over the whole range; "
        "PED-ANOVA: share in separating the best tenth of the trials from the rest."
    )
    from matplotlib.patches import Patch

    legend = [(Patch(color=BARS[name]), name) for name in shares]
    figure, panels = new_page((5.6, 1.0 + 0.42 * len(settings)), title=title, caption=caption, legend=legend)
    axes, height = panels[0, 0], 0.8 / len(shares)
    for index, (name, share_of) in enumerate(shares.items()):
        offsets = np.arange(len(settings)) + (index - (len(shares) - 1) / 2) * height
        axes.barh(offsets, [share_of[setting] for setting in settings], height=0.9 * height, color=BARS[name])
    axes.set_yticks(range(len(settings)), [wrapped(_short(setting)) for setting in settings])
    axes.invert_yaxis()
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1)
    axes.set_xlabel("importance, share")
    return save(figure, path)


@theme()
def pareto(
    shown: Sequence[Point], again: Mapping[int, tuple[float, float]], path: str | Path, *,
    measures: Sequence[str], title: str = "",
) -> list[Path]:  # fmt: skip
    """Draws both objectives of every trial, the front, and the results `again` of its trials in the re-test."""
    best = front(shown)
    caption = "Ratios to the untuned method, which is at (1, 1). Arrows: re-test of the front's trials on fresh seeds."
    figure, panels = new_page((4.8, 3.8), title=title, caption=caption)
    axes = panels[0, 0]
    axes.plot(*zip(*(point.ratios for point in shown), strict=True), **COMPLETE)
    axes.step([point.ratios[0] for point in best], [point.ratios[1] for point in best], where="post", **SO_FAR)
    for point in best:
        if point.index in again:
            axes.annotate("", again[point.index], point.ratios, arrowprops={"arrowstyle": "->", "color": ORANGE})
    axes.plot(1, 1, marker="s", color=RED, markersize=6)
    everything = [*(point.ratios for point in shown), *again.values()]
    for which, values in zip("xy", zip(*everything, strict=True), strict=True):
        fit(axes, which, values)
    axes.set_xlabel(f"{measures[0]}, ratio")
    axes.set_ylabel(f"{measures[1]}, ratio")
    return save(figure, path)


@theme()
def carried(
    ratios: Mapping[str, Mapping[tuple[str, str], tuple[float, str, str]]], tuned_on: Sequence[str],
    run_on: Sequence[str], path: str | Path, *, measure: str,
) -> list[Path]:  # fmt: skip
    """Draws heat maps, one per yardstick: rows are tasks of the tuning, columns are tasks of the comparison.

    `ratios` by yardstick and place: the number, NaN where bounds leave its side of 1 open, its text, and its verdict.
    """
    from matplotlib.colors import LogNorm

    caption = (
        "Blue costs less than the yardstick, red more; bold has a verdict. Diagonal, framed: the task's own settings."
    )
    size = max(4.4, 1.3 + 0.95 * len(run_on)), 0.9 + 0.5 * len(tuned_on)
    figure, panels = new_page(size, (len(ratios), 1), title=measure, caption=caption)
    norm = LogNorm(1 / MOST_COLOUR, MOST_COLOUR)
    for axes, (against, cells) in zip(panels.flat, ratios.items(), strict=True):
        values = np.array([[cells.get((row, column), (math.nan,))[0] for column in run_on] for row in tuned_on])
        axes.imshow(values, norm=norm, cmap="RdBu_r", aspect="auto")
        for (i, row), (j, column) in ((r, c) for r in enumerate(tuned_on) for c in enumerate(run_on)):
            if (row, column) in cells:
                ratio, written, verdict = cells[row, column]
                weight = "bold" if verdict and not verdict.startswith("inconclusive") else "normal"
                ink = "white" if abs(math.log(ratio)) > 0.65 * math.log(MOST_COLOUR) else INK  # NaN: no colour
                axes.text(j, i, written.replace("-", "-\n"), ha="center", va="center", weight=weight, color=ink)
            if row == column:
                axes.add_patch(_frame(i, j))
        axes.set_xticks(range(len(run_on)), [wrapped(name, 14) for name in run_on], fontsize="small")
        axes.set_yticks(range(len(tuned_on)), [wrapped(name, 14) for name in tuned_on], fontsize="small")
        axes.set_title(without_mathtext(f"ratio to {against}"), loc="left", fontsize="medium")
        axes.set_ylabel("tuned on")
        axes.grid(False)
    panels.flat[-1].set_xlabel("run on")
    return save(figure, path)


def _frame(row: int, column: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, fill=False, edgecolor=INK, linewidth=1.4)


# ---------------------------------------------------------------- marks and scales


def _marks(axes: Axes, shown: Sequence[Point], at: Any, frozen: int) -> None:
    for points, look in (
        ([point for point in shown if not point.complete], PRUNED),
        ([point for point in shown if point.complete], COMPLETE),
        ([point for point in shown if point.index == frozen], BEST),
    ):
        axes.plot([at(point) for point in points], [point.ratios[0] for point in points], zorder=3, **look)


def _legend(shown: Sequence[Point], frozen: int) -> list[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    known = [(COMPLETE, "complete"), (PRUNED, "ended early"), (BEST, "frozen")]
    there = [
        any(point.complete for point in shown),
        not all(point.complete for point in shown),
        any(point.index == frozen for point in shown),
    ]
    return [(Line2D([], [], **look), name) for (look, name), is_there in zip(known, there, strict=True) if is_there]


def _lines(able: Sequence[Point]) -> list[tuple[Any, str]]:
    """The lines of the history, for its legend; there is a best so far only of trials that can be chosen."""
    from matplotlib.lines import Line2D

    best = [(Line2D([], [], **SO_FAR), "best so far")] if able else []
    return [*best, (Line2D([], [], **UNTUNED), "untuned method")]


def _place(value: Any, search: Search) -> float:
    """Position of a value on its axis; for a choice, its index among the values."""
    return float(search.values.index(value)) if isinstance(search, Choice) else float(value)


def _ends(search: Search) -> tuple[float, float]:
    return (0.0, len(search.values) - 1.0) if isinstance(search, Choice) else (float(search.low), float(search.high))


def _scale(axes: Axes, which: str, search: Search) -> None:
    if isinstance(search, Choice):
        axis = axes.xaxis if which == "x" else axes.yaxis
        axis.set_ticks(range(len(search.values)), [wrapped(_value(value), 12) for value in search.values])
    else:
        fit(axes, which, _ends(search), log=is_log(search))
        if is_log(search):
            place_ticks(axes.xaxis if which == "x" else axes.yaxis, log_ticks(*_ends(search), 4))


def _value(value: Any) -> str:
    return tick_text(value) if isinstance(value, float) else str(value)


def _short(setting: str) -> str:
    """The last key of a path, as its label."""
    return setting.rpartition(".")[2]


def pairs_of(settings: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs among the three first settings."""
    return list(combinations(settings[:3], 2))
