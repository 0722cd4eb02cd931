"""Batches with the reasons for them; inner iterations, damping and reduction ratio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.figures.axes import fit, label, nothing
from hfbench.figures.bands import Array, band_table, by_iteration, by_method, caption
from hfbench.figures.convergence import Traces, draw_band
from hfbench.figures.style import INK, Style, method_legend, new_page, save, styles, theme, without_mathtext

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Groups = Mapping[str, Sequence["pd.DataFrame"]]

# Dark to bright, so that the shade alone tells them apart, and no method's colour.
REASONS = {
    "start": "#f1f1f1",
    "keep": "#dedede",
    "full": "#a6a6a6",
    "variance": "#440154",
    "validation": "#35b779",
    "variance+validation": "#fde725",
}
OTHER_REASONS = ("#31688e", "#90d743", "#443983", "#21918c")
RHO_SHOWN = (-1.0, 2.0)
WIDTH = 6.2


@theme()
def batches(traces: Traces, path: str | Path, *, title: str = "", methods: Sequence[str] | None = None) -> list[Path]:
    """Draws the gradient and the curvature batch over outer iterations, and why they have these sizes.

    Medians with quartiles over seeds, ending as in `convergence`. Below, a strip for each method whose reasons vary:
    the share of its seeds that gave each reason (`batch_reason`) for the batch of that iteration; white has ended.
    """
    groups, looks = _groups(traces, methods)
    shares = {method: found for method, runs in groups.items() if len(found := reason_shares(runs)) > 1}
    colours = reason_colours([reason for found in shares.values() for reason in found])
    heights = [2.1, 2.1] + [0.75] * len(shares)
    figure, panels = new_page(
        (WIDTH, sum(heights) / len(heights)),
        (len(heights), 1),
        title=title,
        caption=caption(_counts(groups))
        + " Strips: share of seeds by the reason for that batch; white: ended." * bool(shares),
        legend=[*method_legend(looks, _counts(groups)), *_reason_legend(colours)],
        sharex=True,
        height_ratios=heights,
    )
    panels[1, 0].sharey(panels[0, 0])
    sizes = [
        _medians(axes, groups, looks, column)
        for axes, column in zip(panels[:2, 0], ("batch_gradient", "batch_curvature"), strict=True)
    ]
    fit(panels[0, 0], "y", [*sizes[0], *sizes[1]])
    for axes, (method, found) in zip(panels[2:, 0], shares.items(), strict=True):
        _strip(axes, found, colours)
        axes.set_title(
            without_mathtext(method), loc="left", fontsize="small", color=looks[method].colour, weight="bold", pad=3
        )
    _share_iterations(panels, groups)
    return save(figure, path)


@theme()
def inner(traces: Traces, path: str | Path, *, title: str = "", methods: Sequence[str] | None = None) -> list[Path]:
    """Draws inner iterations, the damping lambda used, and the reduction ratio rho over outer iterations.

    Medians with quartiles over seeds, ending as in `convergence`. rho is clipped to [−1, 2]; at the lower edge, ▾ marks
    iterations at which a seed fell below (−inf: the objective rose) and × those without a rho (no step).
    """
    groups, looks = _groups(traces, methods)
    columns = [column for column in ("inner_iterations", "damping", "rho") if _is_there(groups, column)]
    columns = columns or ["inner_iterations"]
    figure, panels = new_page(
        (WIDTH, 2.0),
        (len(columns), 1),
        title=title,
        caption=caption(_counts(groups)) + _remarks(groups, columns),
        legend=method_legend(looks, _counts(groups)),
        sharex=True,
    )
    for axes, column in zip(panels[:, 0], columns, strict=True):
        if column == "rho":
            _rho_panel(axes, groups, looks)
            continue
        values = _medians(axes, groups, looks, column)
        fit(axes, "y", [value for value in values if value > 0] or values)
    _share_iterations(panels, groups)
    return save(figure, path)


def _is_there(groups: Groups, column: str) -> bool:
    """Whether any method has a curve of the column."""
    return any(by_iteration(runs, column) is not None for runs in groups.values())


def _remarks(groups: Groups, columns: Sequence[str]) -> str:
    said = ""
    if "damping" in columns and any((band_table(runs, "damping") == 0).any() for runs in groups.values()):
        said += " lambda = 0 lies below the axis."
    if "rho" in columns:
        said += " rho is clipped; lower edge: ▾ some seed below, × no step taken."
    return said


def reason_shares(traces: Sequence[pd.DataFrame]) -> dict[str, Array]:
    """The share of all runs whose step k has that `batch_reason`, shape (iterations,) from k = 1, by reason."""
    given = [trace[trace["iteration"] >= 1] for trace in traces if len(trace)]
    last = max((int(steps["iteration"].max()) for steps in given if len(steps)), default=0)
    shares: dict[str, Array] = {}
    for steps in given:
        for iteration, reason in zip(steps["iteration"], steps["batch_reason"], strict=True):
            if isinstance(reason, str):
                shares.setdefault(reason, np.zeros(last))[int(iteration) - 1] += 1 / len(traces)
    return shares


def reason_colours(reasons: Sequence[str]) -> dict[str, str]:
    """A colour for each reason: the built-in schedulers' in fixed order, then others as they come."""
    others = [reason for reason in dict.fromkeys(reasons) if reason not in REASONS]
    colours = {reason: colour for reason, colour in REASONS.items() if reason in reasons}
    return colours | {reason: OTHER_REASONS[i % len(OTHER_REASONS)] for i, reason in enumerate(others)}


# ---------------------------------------------------------------- panels


def _medians(axes: Axes, groups: Groups, looks: Mapping[str, Style], column: str) -> list[float]:
    """Draws a column by method; returns what the bands span."""
    bands = {method: one for method, runs in groups.items() if (one := by_iteration(runs, column)) is not None}
    for method, band in bands.items():
        draw_band(axes, band, looks[method], drawstyle="steps-mid")
    if not bands:
        nothing(axes)
    axes.set_ylabel(label(column))
    return [value for band in bands.values() for value in (*band.low, *band.high)]


def _rho_panel(axes: Axes, groups: Groups, looks: Mapping[str, Style]) -> None:
    low, high = RHO_SHOWN
    clipped = {method: [_with_clipped_rho(trace) for trace in runs] for method, runs in groups.items()}
    bands = {method: one for method, runs in clipped.items() if (one := by_iteration(runs, "rho")) is not None}
    if bands:
        axes.axhline(1.0, color=INK, linewidth=0.8, linestyle=(0, (5, 4)), zorder=1)
    for index, (method, band) in enumerate(bands.items()):
        draw_band(axes, band, looks[method], drawstyle="steps-mid")
        at = low - 0.14 * (index + 1)
        for iterations, marker in zip(_rho_marks(groups[method]), (7, "x"), strict=True):
            axes.plot(
                iterations, [at] * len(iterations), marker=marker, markersize=4, linestyle="none",
                color=looks[method].colour, markeredgewidth=1.0,
            )  # fmt: skip
    axes.set_ylim(low - 0.14 * (len(bands) + 1), high)
    axes.set_yticks([-1, 0, 1, 2], ["≤ -1", "0", "1", "≥ 2"])
    axes.set_ylabel(label("rho"))
    if not bands:
        nothing(axes)


def _with_clipped_rho(trace: pd.DataFrame) -> pd.DataFrame:
    return trace.assign(rho=trace["rho"].astype(float).clip(*RHO_SHOWN)) if len(trace) else trace


def _rho_marks(runs: Sequence[pd.DataFrame]) -> tuple[list[int], list[int]]:
    """The iterations at which some run's rho lies below the part shown, and those at which some run has none."""
    rho, ran = band_table(runs, "rho"), np.isfinite(band_table(runs, "damping"))
    below = (rho < RHO_SHOWN[0]).any(axis=0)
    undefined = (np.isnan(rho) & ran).any(axis=0)
    return [int(k) + 1 for k in np.flatnonzero(below)], [int(k) + 1 for k in np.flatnonzero(undefined)]


def _strip(axes: Axes, shares: Mapping[str, Array], colours: Mapping[str, str]) -> None:
    """Stacked shares by iteration, in the order of the colours."""
    bottom: Array = np.zeros(len(next(iter(shares.values()))))
    edges = np.arange(bottom.size + 1) + 0.5
    for reason, colour in colours.items():
        if reason in shares:
            top = bottom + shares[reason]
            axes.stairs(top, edges, baseline=bottom, fill=True, color=colour, linewidth=0)
            bottom = top
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 1], ["0", "1"])
    axes.set_ylabel("seeds")
    axes.grid(False)


def _reason_legend(colours: Mapping[str, str]) -> list[tuple[Any, str]]:
    from matplotlib.patches import Patch

    if not colours:
        return []
    handles: list[tuple[Any, str]] = [(Patch(alpha=0.0), ""), (Patch(alpha=0.0), "reason for the batch")]
    return [*handles, *((Patch(facecolor=colour, edgecolor="#999999", linewidth=0.5), reason)
                        for reason, colour in colours.items())]  # fmt: skip


def _share_iterations(panels: Any, groups: Groups) -> None:
    """The common x axis: whole iterations, named once."""
    from matplotlib.ticker import MaxNLocator

    last = max((band_table(runs, "iteration").shape[1] for runs in groups.values()), default=0)
    bottom = panels[-1, 0]
    bottom.set_xlim(0.5, max(last, 1) + 0.5)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    bottom.tick_params(bottom=True, labelbottom=True)
    bottom.set_xlabel(label("iteration"))
    bottom.figure.align_ylabels(list(panels[:, 0]))


def _groups(traces: Traces, methods: Sequence[str] | None) -> tuple[dict[str, list[pd.DataFrame]], dict[str, Style]]:
    """The methods that have traces, and their styles."""
    groups = by_method(traces, methods)
    looks = styles(groups)
    present = {method: runs for method, runs in groups.items() if any(len(trace) for trace in runs)}
    return present, {method: looks[method] for method in present}


def _counts(groups: Groups) -> dict[str, int]:
    return {method: len(runs) for method, runs in groups.items()}
