"""Peak memory of each method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.figures.axes import Array, nothing
from hfbench.figures.style import (
    INK,
    Style,
    save,
    styles_of,
    task_page,
    theme,
    without_mathtext,
    without_panels,
    wrapped,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MIB = 2**20


@theme()
def memory(
    records: pd.DataFrame,
    path: str | Path,
    *,
    baseline: str | None = None,
    title: str = "",
    methods: Sequence[str] | None = None,
    tasks: Sequence[str] | None = None,
) -> list[Path]:
    """Draws each method's peak memory: a bar to the median, a dot per seed; above, the ratio to the baseline's median.

    One panel per task, with the methods that have runs on it. Without a baseline, or where it has no number, the axis
    above is left out.
    """
    looks = styles_of(records, methods)
    tasks = list(tasks) if tasks is not None else sorted(records["task"].unique())
    size = 3.7, 1.35 + 0.34 * len(looks)
    peaks = {task: _peaks(records[records["task"] == task], looks) for task in tasks}
    shown = [task for task in tasks if peaks[task]]
    caption = "Bar: median over seeds. Points: seeds." + without_panels(tasks, shown)
    figure, panels = task_page(shown, size, title=title, caption=caption)
    if not shown:
        nothing(panels[0])
    for axes, task in zip(panels, shown, strict=False):
        _memory_panel(axes, peaks[task], looks, baseline)
    return save(figure, path)


def _peaks(runs: pd.DataFrame, methods: Iterable[str]) -> dict[str, Array]:
    """The peaks of each method's runs in MiB; a method without a number is left out."""
    found = {name: np.asarray(runs.loc[runs["method"] == name, "peak_memory"].astype(float)) for name in methods}
    return {name: values[np.isfinite(values)] / MIB for name, values in found.items() if np.isfinite(values).any()}


def _memory_panel(axes: Axes, peaks: Mapping[str, Array], looks: Mapping[str, Style], baseline: str | None) -> None:
    for index, (method, values) in enumerate(peaks.items()):
        look = looks[method]
        axes.barh(index, float(np.median(values)), height=0.62, color=look.colour, alpha=0.3, linewidth=0)
        offsets = index + 0.22 * (np.arange(values.size) % 3 - 1) * (values.size > 2)
        axes.plot(values, offsets, **look.points, markersize=4.5, markeredgecolor="white", markeredgewidth=0.5)
    axes.set_yticks(range(len(peaks)), [wrapped(method) for method in peaks])
    axes.set_ylim(len(looks) - 0.4, -0.6)  # bars as thick in every panel
    axes.grid(False, axis="y")
    axes.set_xlim(0, 1.06 * max(value for values in peaks.values() for value in values))
    axes.set_xlabel("peak memory (MiB)")
    base = peaks.get(baseline or "", np.empty(0))
    if base.size and (unit := float(np.median(base))) > 0:
        above = axes.secondary_xaxis("top", functions=_scaling(unit))
        above.set_xlabel(without_mathtext(f"ratio to {baseline}"), fontsize="small")
        axes.axvline(unit, color=INK, linewidth=0.8, linestyle=(0, (5, 4)), zorder=1)


def _scaling(unit: float) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
    return lambda x: x / unit, lambda x: x * unit
