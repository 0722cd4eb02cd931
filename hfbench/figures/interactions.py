"""Interaction plots of a factorial study: whether the effects of two factors multiply."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hfbench.figures.axes import Array, fit, label, nothing
from hfbench.figures.profiles import Budget, limit_of
from hfbench.figures.style import Style, new_page, save, theme, without_mathtext, wrapped
from hfbench.statistics.run_costs import REACHED, costs_by_seed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# Dark and bright: levels of a factor are no methods and take none of their colours.
LEVELS = (
    Style("#440154", (), "o"),
    Style("#21918c", (4, 1.5), "s"),
    Style("#90d743", (1, 1.2), "^"),
    Style("#31688e", (4, 1.2, 1, 1.2), "D"),
)


@theme()
def interactions(
    records: pd.DataFrame,
    path: str | Path,
    *,
    factors: Sequence[str],
    levels: Mapping[str, Sequence[int]],
    names: Mapping[str, Sequence[str]] | None = None,
    cost: str = "work_to_target",
    budget: Budget | None = None,
    title: str = "",
    tasks: Sequence[str] | None = None,
) -> list[Path]:
    """Draws, per task (rows) and pair of factors (columns), the cost by level of the one with a line per level of the
    other: geometric means over seeds with 95 % t intervals of log cost, on a log axis. Parallel lines: the effects
    multiply. The intervals hold the differences between seeds too, which effects, taken within seeds, do not.

    `levels` gives each method's level of every factor, `names` what the levels of a factor are called. A seed counts
    if all these methods ran it; a cell of the plot is, per seed, the mean log cost of its methods, as `log_costs`
    counts runs without the target.
    """
    tasks = list(tasks) if tasks is not None else sorted(records["task"].unique())
    pairs = list(combinations(range(len(factors)), 2))
    called = {factor: tuple((names or {}).get(factor, ())) for factor in factors}
    tables = {task: log_costs(records[records["task"] == task], task, list(levels), cost, budget) for task in tasks}
    figure, panels = new_page(
        (3.5, 3.1), (max(len(tasks), 1), max(len(pairs), 1)), title=title, caption=_caption(tables), sharey="row"
    )
    for row, task in zip(panels, tasks, strict=False):
        y, _ = tables[task]
        ends: list[float] = []
        for axes, (a, b) in zip(row, pairs, strict=False):
            cells = {method: (place_of[a], place_of[b]) for method, place_of in levels.items()}
            ends += _panel(axes, y, list(cells.values()), (called[factors[a]], called[factors[b]]), factors[b])
            axes.set_xlabel(without_mathtext(factors[a]))
        fit(row[0], "y", np.exp(ends), log=True, pad=0.08)  # on which effects that multiply are parallel
        row[0].set_ylabel(wrapped(label(cost) if len(tasks) == 1 else f"{task}: {label(cost)}", 34))
    if not pairs or not tasks:
        nothing(panels[0, 0])
    return save(figure, path)


def log_costs(
    runs: pd.DataFrame, task: str, methods: Sequence[str], cost: str, budget: Budget | None
) -> tuple[Array, int]:
    """log T by seed and method, over the seeds all these methods ran, and how many runs did not reach the target.

    Those count as what they spent, or as the limit of the cost; where their method ended them and there was no limit,
    as the most that another run spent. Seeds of which even that is unknown are left out.
    """
    limit = limit_of(task, budget)
    found = [costs_by_seed(runs[runs["method"] == method], cost, limit) for method in methods]
    seeds = sorted(set.intersection(*map(set, found)))
    known = [[of_method[seed].within(limit) for of_method in found] for seed in seeds]
    most = max((run.low for row in known for run in row if math.isfinite(run.low)), default=0.0)
    known = [row for row in known if min(most, *(run.low for run in row)) > 0]
    spent: Array = np.array([[run.low for run in row] for row in known], dtype=float).reshape(len(known), len(methods))
    return np.log(np.minimum(spent, most)), sum(run.ended != REACHED for row in known for run in row)


def cell_means(y: Array, cells: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Array]:
    """Per cell (level of A, level of B) and seed the mean of y over the cell's methods; y has a column per method."""
    return {
        cell: y[:, [column for column, position in enumerate(cells) if position == cell]].mean(axis=1)
        for cell in sorted(set(cells))
    }


def t_interval(values: Array, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and ends of Student's interval; the ends are NaN for fewer than two values."""
    from scipy import stats

    mean = float(values.mean())
    if values.size < 2:
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, values.size - 1)) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return mean, mean - half, mean + half


def _panel(
    axes: Axes,
    y: Array,
    cells: Sequence[tuple[int, int]],
    called: tuple[Sequence[str], Sequence[str]],
    lines: str,
) -> list[float]:
    """One pair of factors; returns the logs of all it shows."""
    if not y.size:
        nothing(axes)
        return []
    means = cell_means(y, cells)
    at = sorted({a for a, _ in means})
    series = sorted({b for _, b in means})
    shown: list[float] = []
    for index, b in enumerate(series):
        xs = np.array([a for a in at if (a, b) in means], dtype=float)
        found = np.array([t_interval(means[a, b]) for a in at if (a, b) in means])
        look = LEVELS[index % len(LEVELS)]
        dodged = xs + 0.05 * (index - (len(series) - 1) / 2)
        centre, low, high = np.exp(found).T
        axes.plot(
            dodged, centre, **look.line, marker=look.marker, markersize=6, linewidth=1.8, label=_name(called[1], b)
        )
        axes.vlines(dodged, low, high, color=look.colour, linewidth=1.4)
        shown += [value for value in found.ravel() if math.isfinite(value)]
    axes.set_xticks(at, [_name(called[0], a) for a in at])
    axes.set_xlim(min(at) - 0.35, max(at) + 0.35)
    axes.grid(False, axis="x")
    axes.legend(title=without_mathtext(lines), loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False,
                fontsize="small", title_fontsize="small", alignment="left", borderaxespad=0.1)  # fmt: skip
    return shown


def _name(called: Sequence[str], level: int) -> str:
    return wrapped(called[level] if level < len(called) else str(level), 18)


def _caption(tables: Mapping[str, tuple[Array, int]]) -> str:
    seeds = {task: len(y) for task, (y, _) in tables.items()}
    if len(set(seeds.values())) == 1:
        n = f"n = {max(seeds.values())}"
    else:
        n = "n = " + ", ".join(f"{count} ({task})" for task, count in seeds.items())
    runs, censored = sum(y.size for y, _ in tables.values()), sum(count for _, count in tables.values())
    cut = (
        f" {censored} of {runs} runs did not reach the target and count as what they spent, or else the most spent."
        if censored
        else ""
    )
    return (
        f"Geometric means with 95 % t intervals over seeds, {n}. Parallel lines: the effects multiply. "
        f"Effects are judged within seeds: overlapping intervals do not refute them.{cut}"
    )
