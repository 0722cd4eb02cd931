"""Performance profiles, and the share of runs at the target."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hfbench.figures.axes import Array, end_marker, fit, label, log_ticks, nothing, place_ticks
from hfbench.figures.style import (
    INK,
    Style,
    method_legend,
    new_page,
    save,
    styles_of,
    task_page,
    theme,
    without_panels,
)
from hfbench.statistics.run_costs import REACHED, RunCost, costs_by_seed

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Budget = Mapping[str, "float | None"]


def costs_to_target(runs: pd.DataFrame, cost: str, limit: float = math.inf) -> Array:
    """Each run's cost to the target; inf where it was not reached within the limit."""
    values = np.asarray(runs[cost].astype(float), dtype=float)
    return np.where(values <= limit, values, np.inf)


def limit_of(task: str, budget: Budget | None) -> float:
    """The limit of the cost that the runs of a task were given, inf if there was none."""
    given = (budget or {}).get(task)
    return math.inf if given is None else given


# ---------------------------------------------------------------- performance profile


def cost_ratios(records: pd.DataFrame, cost: str, methods: Sequence[str], budget: Budget | None = None) -> Array:
    """r_im = c_im / min over m of c_im for every instance i, a (task, seed) that all methods ran; shape (i, m).

    inf where the target was not reached; an instance nobody solved is a row of inf. Dolan & Moré (2002).
    """
    rows = []
    for task, runs in records[records["method"].isin(methods)].groupby("task", sort=True):
        within = costs_to_target(runs, cost, limit_of(str(task), budget))
        wide = runs.assign(cost=within).pivot(index="seed", columns="method", values="cost")
        rows.append(np.asarray(wide.reindex(columns=list(methods)).dropna(), dtype=float))
    costs = np.concatenate([np.empty((0, len(methods))), *rows])
    best = costs.min(axis=1, keepdims=True, initial=np.inf)
    return np.where(np.isfinite(costs), costs / np.where(np.isfinite(best), best, 1.0), np.inf)


@theme()
def profile(
    records: pd.DataFrame,
    path: str | Path,
    *,
    cost: str = "work_to_target",
    budget: Budget | None = None,
    title: str = "",
    methods: Sequence[str] | None = None,
) -> list[Path]:
    """Draws, per method, the share of instances it solved at no more than t times the cheapest method's cost.

    Instances are (task, seed) pairs that all methods ran, and stay in the denominator if nobody solved them. Steps on
    a log2 axis; Dolan & Moré (2002).
    """
    looks = styles_of(records, methods)
    r = cost_ratios(records, cost, list(looks), budget)
    instances = records[records["method"].isin(list(looks))][["task", "seed"]].drop_duplicates()
    left_out, unsolved = len(instances) - len(r), int(np.isinf(r).all(axis=1).sum()) if looks else 0
    figure, panels = new_page(
        (4.6, 3.5),
        title=title,
        caption=_profile_caption(len(r), instances["task"].nunique(), unsolved, left_out),
        legend=method_legend(looks),
    )
    axes = panels[0, 0]
    finite = r[np.isfinite(r)]
    end = max(float(finite.max()) if finite.size else 1.0, 1.25) ** 1.06
    for column, look in zip(r.T, looks.values(), strict=True):
        _profile_step(axes, column, end, look)
    if not len(r):
        nothing(axes)
        return save(figure, path)
    axes.set_xscale("log", base=2)
    axes.set_xlim(1.0, end)
    powers = [2.0**k for k in range(math.floor(math.log2(end)) + 1)]
    step = math.ceil(len(powers) / 8)
    place_ticks(axes.xaxis, powers[::step] if len(powers) > 2 else log_ticks(1.0, end))
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(f"{label(cost)}, relative to the best, log scale")
    axes.set_ylabel("share of instances solved")
    return save(figure, path)


def _profile_step(axes: Axes, r: Array, end: float, look: Style) -> None:
    if not r.size:
        return
    steps = np.sort(r[np.isfinite(r)])
    share = np.arange(1, steps.size + 1) / r.size
    x, y = np.concatenate([[1.0], steps, [end]]), np.concatenate([[0.0], share, [share[-1] if share.size else 0.0]])
    axes.step(x, y, where="post", linewidth=1.8, **look.line)
    end_marker(axes, end, float(y[-1]), look)


def _profile_caption(instances: int, tasks: int, unsolved: int, left_out: int) -> str:
    text = f"{instances} instances (task, seed) from {tasks} task{'s' * (tasks != 1)}"
    text += f", {unsolved} of them solved by no method." if unsolved else "."
    return text + (f" {left_out} not run by every method left out." if left_out else "")


# ---------------------------------------------------------------- share of runs at the target


@theme()
def reached(
    records: pd.DataFrame,
    path: str | Path,
    *,
    cost: str = "work_to_target",
    budget: Budget | None = None,
    title: str = "",
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> list[Path]:
    """Draws the share of seeds that reached the target against the cost, a panel per task, a step line per method.

    1 minus the Kaplan-Meier estimate of the cost. A run that a limit ended is censored at its own spending, or at the
    limit of the cost; one that its method ended stays without the target to the end. Beside it: how many reached it.
    """
    looks = styles_of(records, methods)
    tasks = list(tasks) if tasks is not None else sorted(records["task"].unique())
    limits = {task: limit_of(task, budget) for task in tasks}
    found = {
        task: {
            method: [known.within(limits[task]) for known in costs_by_seed(own, cost, limits[task]).values()]
            for method in looks
            if len(own := records[(records["task"] == task) & (records["method"] == method)])
        }
        for task in tasks
    }
    caption = "Right: seeds that reached the target, of all."
    if any(known.ended != REACHED for methods in found.values() for costs in methods.values() for known in costs):
        caption += " Marker: seeds still without the target when their runs ended."
    shown = [task for task in tasks if any(map(_costs_shown, found[task].values()))]
    caption += without_panels(tasks, shown)
    figure, panels = task_page(shown, (3.5, 3.1), title=title, caption=caption, legend=method_legend(looks))
    if not shown:
        nothing(panels[0])
    for axes, task in zip(panels, shown, strict=False):
        _reached_panel(axes, found[task], limits[task], looks)
        axes.set_xlabel(label(cost))
        axes.set_ylabel("share of seeds at the target")
    return save(figure, path)


def _reached_panel(
    axes: Axes, found: Mapping[str, Sequence[RunCost]], limit: float, looks: Mapping[str, Style]
) -> None:
    times = [time for costs in found.values() for time in _costs_shown(costs)]
    end = max(times) if math.isinf(limit) else limit
    log = fit(axes, "x", [*times, end])
    start = axes.get_xlim()[0] if log else 0.0
    axes.set_xlim(start, axes.get_xlim()[1])
    if math.isfinite(limit):
        axes.axvline(limit, color=INK, linewidth=0.8, linestyle=(0, (5, 4)), zorder=1)
    ends = {}
    for method, costs in found.items():
        steps, share = share_at_target(costs, end)
        last = max(min(known.low, end) for known in costs) if len(steps) == 0 or share[-1] < 1 else end
        ends[method] = float(share[-1]) if len(share) else 0.0
        x, y = np.concatenate([[start], steps, [last]]), np.concatenate([[0.0], share, [ends[method]]])
        axes.step(x, y, where="post", linewidth=1.8, **looks[method].line)
        if ends[method] < 1:
            end_marker(axes, last, ends[method], looks[method])
    axes.set_ylim(-0.03, 1.03)
    for method, height in zip(ends, spread(list(ends.values()), 0.085), strict=True):
        text = f"{sum(known.ended == REACHED for known in found[method])}/{len(found[method])}"
        axes.annotate(text, (1.0, height), xycoords=("axes fraction", "data"), xytext=(5, 0), va="center",
                      textcoords="offset points", fontsize="small", color=looks[method].colour)  # fmt: skip


def _costs_shown(costs: Sequence[RunCost]) -> list[float]:
    return [known.low for known in costs if 0 < known.low < math.inf]


def share_at_target(costs: Sequence[RunCost], end: float) -> tuple[Array, Array]:
    """Where the Kaplan-Meier estimate of the share at the target rises, and to what; (steps,) each."""
    from scipy import stats

    at = np.array([min(known.low, end) for known in costs])
    without = np.array([known.ended != REACHED for known in costs])
    survival = stats.ecdf(stats.CensoredData.right_censored(at, without)).sf
    rises = np.isin(survival.quantiles, at[~without])
    return survival.quantiles[rises], 1 - survival.probabilities[rises]


def spread(heights: Sequence[float], gap: float) -> list[float]:
    """The heights moved apart to at least `gap`, in their order, ties in the order given, none above 1."""
    order = sorted(range(len(heights)), key=lambda i: (-heights[i], i))
    placed = list(heights)
    for above, below in zip(order, order[1:], strict=False):
        placed[below] = min(placed[below], placed[above] - gap)
    lowest = min(placed, default=0.0)
    if lowest < 0:  # pushed off the bottom: push the others up again
        placed[order[-1]] = 0.0
        for below, above in zip(order[::-1], order[-2::-1], strict=False):
            placed[above] = max(placed[above], placed[below] + gap)
    return placed
