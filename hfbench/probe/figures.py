"""Figures of probes: small multiples over the systems of one moment of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from hfbench.figures.axes import fit
from hfbench.figures.style import (
    COLOURS,
    FAINT,
    INK,
    Style,
    method_legend,
    new_page,
    save,
    styles,
    theme,
    without_mathtext,
)
from hfbench.probe.pairwise import MEASURES, paired
from hfbench.probe.solver_on_system import Solve
from hfbench.statistics.paired_tests import hodges_lehmann

QUANTITIES = {
    "residual": "‖b - Ax‖ / ‖b‖",
    "gap": "1 - q / q*",
    "change_train": "change of f, training",
    "change_test": "change of f, test",
}
LOGARITHMIC = ("residual", "gap")
FLOOR = 1e-15  # nothing below it is told apart


def draw_solvers(solves: Sequence[Solve], into: Path) -> Iterator[Path]:
    """Draws a figure for each iteration of each run into `into`, with a column for every lambda."""
    looks = styles(solve.arm.name for solve in solves)
    for moment in dict.fromkeys(solve.moment for solve in solves):
        yield from _draw_moment(
            [solve for solve in solves if solve.moment == moment], looks, into / f"solvers-{moment}"
        )


@theme()
def _draw_moment(solves: Sequence[Solve], looks: Mapping[str, Style], path: Path) -> list[Path]:
    """Draws residual, quadratic and true change of f against iterations; a marker where relative progress stops."""
    systems = {solve.system: solve.damping for solve in solves}
    figure, panels = new_page(
        (2.9, 1.75),
        (len(QUANTITIES), len(systems)),
        title=solves[0].moment,
        caption="Markers: iteration at which relative progress stops. f is taken over all cases, not the batch.",
        legend=method_legend({name: look for name, look in looks.items() if name in {s.arm.name for s in solves}}),
        sharex="col",
    )
    for column, (system, damping) in enumerate(systems.items()):
        here = [solve for solve in solves if solve.system == system]
        panels[0, column].set_title(f"lambda = {damping:.3g}", loc="left", weight="bold")
        panels[-1, column].set_xlabel("iterations")
        for row, (name, label) in enumerate(QUANTITIES.items()):
            _panel(panels[row, column], here, name, looks)
            if column == 0:
                panels[row, column].set_ylabel(label)
    return save(figure, path)


NO_DIFFERENCE = (0.99, 1.01)  # ratios: an axis shows at least these


@theme()
def draw_duels(duels: Sequence[tuple[Sequence[Solve], Sequence[Solve]]], path: Path) -> list[Path]:
    """Draws each pair's measures as ratios, second to first, after equally many iterations: a line for every system."""
    figure, panels = new_page(
        (2.5, 2.0),
        (len(duels), len(MEASURES)),
        caption="After equally many iterations on the same system; below 1 the first named is better. "
        "A line for each system until it is solved, and their Hodges-Lehmann centre while there are at least three.",
        sharex=True,
    )
    for line, (a, b) in zip(panels, duels, strict=True):
        for axes, (measure, label) in zip(line, MEASURES.items(), strict=True):
            _duel_panel(axes, a, b, measure)
            axes.set_title(without_mathtext(label), loc="left", weight="bold")
        line[0].set_ylabel(without_mathtext(f"{b[0].arm.name}\nover\n{a[0].arm.name}"), fontsize="small")
    for axes in panels[-1]:
        axes.set_xlabel("iterations")
    return save(figure, path)


def _duel_panel(axes: Any, a: Sequence[Solve], b: Sequence[Solve], measure: str) -> None:
    by_k: dict[int, list[float]] = {}
    for solve, other in zip(a, b, strict=True):
        ratios = {k: y / x for k, (x, y) in paired(solve, other, measure).items()}
        axes.plot(list(ratios), list(ratios.values()), color=FAINT, linewidth=0.7, alpha=0.6)
        for k, ratio in ratios.items():
            by_k.setdefault(k, []).append(ratio)
    shared = sorted(k for k, found in by_k.items() if len(found) >= 3)
    axes.plot(shared, [math.exp(hodges_lehmann(np.log(by_k[k]))[0]) for k in shared], color=COLOURS[0], linewidth=2.0)
    axes.axhline(1.0, color=INK, linewidth=0.8)
    fit(axes, "x", by_k, log=True)
    fit(axes, "y", [*chain.from_iterable(by_k.values()), *NO_DIFFERENCE], log=measure in LOGARITHMIC)


def _panel(axes: Any, solves: Sequence[Solve], name: str, looks: Mapping[str, Style]) -> None:
    for solve in solves:
        look, rows = looks[solve.arm.name], [row for row in solve.rows if name in row]
        heights = [max(row[name], FLOOR) if name in LOGARITHMIC else row[name] for row in rows]
        axes.plot([row["k"] for row in rows], heights, **look.line, linewidth=1.2)
        stop = solve.stops.get("relative-progress")
        at = next((i for i, row in enumerate(rows) if row["k"] == stop), None)
        if at is not None:
            axes.plot([stop], [heights[at]], **look.points, markersize=5, markeredgecolor="white")
    if name in LOGARITHMIC:
        axes.set_yscale("log")
    else:
        axes.axhline(0.0, color=FAINT, linewidth=0.8)


VARIED = {
    "preconditioner": "lambda",
    "probes": "probes",
    "exponent": "exponent alpha",
    "age": "age in steps",
}
DRAWN_GAPS = (1e-1, 1e-2)


@theme()
def draw_conditions(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Path]:
    """Draws iterations to two gaps: of each preconditioner against lambda, and against each setting that was varied."""
    kinds = [kind for kind in VARIED if any(row["kind"] == kind for row in rows)]
    looks = styles(row["base"] for row in rows)
    figure, panels = new_page(
        (3.2, 2.3),
        (len(DRAWN_GAPS), len(kinds)),
        caption="Iterations from zero, in float64. One line for each system, broken where the gap was not reached.",
        legend=method_legend(looks),
        sharex="col",
        sharey="row",
    )
    for line, gap in zip(panels, DRAWN_GAPS, strict=True):
        for axes, kind in zip(line, kinds, strict=True):
            _condition_panel(axes, rows, kind, f"to_{gap:g}", looks)
            axes.set_yscale("log")
        line[0].set_ylabel(f"iterations to 1 - q/q* = {gap:g}")
    for axes, kind in zip(panels[-1], kinds, strict=True):
        axes.set_xlabel(VARIED[kind])
    return save(figure, path)


def _condition_panel(
    axes: Any, rows: Sequence[Mapping[str, Any]], kind: str, reached: str, looks: Mapping[str, Style]
) -> None:
    found = [row for row in rows if row[reached] and not math.isnan(row[reached])]
    plain = [row for row in found if row["kind"] == "preconditioner"]
    if kind == "preconditioner":
        for base, look in looks.items():
            points = sorted((row["lambda"], row[reached]) for row in plain if row["base"] == base)
            axes.plot(*zip(*points, strict=True), **look.line, marker=look.marker, markersize=4) if points else None
        axes.set_xscale("log")
        return
    varied = [row for row in found if row["kind"] == kind]
    for system, base in dict.fromkeys((row["system"], row["base"]) for row in varied):
        here = [row for row in [*plain, *varied] if (row["system"], row["base"]) == (system, base)]
        points = sorted((_varied_to(row, kind), row[reached]) for row in here)
        axes.plot(*zip(*points, strict=True), **looks[base].line, marker=looks[base].marker, markersize=4)


def _varied_to(row: Mapping[str, Any], kind: str) -> float:
    """The value of what is varied: of a preconditioner with its defaults its own, and no age."""
    if row["kind"] == kind:
        return float(row["value"])
    return 0.0 if kind == "age" else float(row[kind])


ESTIMATES = {  # over the truth: the column, its standard deviation if there is one, and the panel's label
    "variance": ("variance_sd", "variance / truth"),
    "gradient": (None, "‖g_S‖² / ‖g‖²"),
    "inner": ("inner_sd", "variance along g / truth"),
}
DECISIONS = ("grows (%)", "wrong decisions (%)", "next batch")


@theme()
def draw_variance(rows: Sequence[Mapping[str, Any]], path: Path) -> list[Path]:
    """Draws, against the batch size, the estimates relative to the truth and the schedulers' decisions with both."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    looks = styles(systems)
    schedulers = list(dict.fromkeys(row["scheduler"] for row in rows))
    figure, panels = new_page(
        (3.2, 2.3),
        (1 + len(schedulers), 3),
        caption="Above: means over batches, with standard deviations. Below: the scheduler's decision; grey dashes, "
        "its decision given the truth.",
        legend=method_legend(looks),
        sharex=True,
    )
    for system in systems:
        here = [row for row in rows if row["system"] == system]
        _estimate_panels(panels[0], [row for row in here if row["scheduler"] == schedulers[0]], looks[system])
        for line, scheduler in zip(panels[1:], schedulers, strict=True):
            _decision_panels(line, [row for row in here if row["scheduler"] == scheduler], looks[system])
    for axes, (_, label) in zip(panels[0], ESTIMATES.values(), strict=True):
        axes.axhline(1.0, color=FAINT, linewidth=0.8)
        axes.set_ylabel(label)
    for line, scheduler in zip(panels[1:], schedulers, strict=True):
        line[0].set_title(scheduler, loc="left", weight="bold")
        for axes, label in zip(line, DECISIONS, strict=True):
            axes.set_ylabel(label)
            axes.set_ylim(-4, 104) if "%" in label else axes.set_yscale("log")
    for axes in panels[-1]:
        axes.set_xlabel("cases in the batch")
    for axes in panels.flat:
        axes.set_xscale("log")
    return save(figure, path)


def _estimate_panels(panels: Sequence[Any], rows: Sequence[Mapping[str, Any]], look: Style) -> None:
    for axes, (name, (spread, _)) in zip(panels, ESTIMATES.items(), strict=True):
        errors = [row[spread] for row in rows] if spread else None
        drawn = {"color": look.colour, "marker": look.marker, "markersize": 4, "linewidth": 1.0, "capsize": 2}
        axes.errorbar([row["n"] for row in rows], [row[name] for row in rows], errors, **drawn)
    for axes in panels[1:]:
        axes.set_yscale("log")


def _decision_panels(panels: Sequence[Any], rows: Sequence[Mapping[str, Any]], look: Style) -> None:
    n = [row["n"] for row in rows]
    should = {"color": FAINT, "linestyle": (0, (4, 2)), "linewidth": 0.9}
    drawn = {**look.line, "marker": look.marker, "markersize": 4}
    panels[0].plot(n, [100 * row["grows"] for row in rows], **drawn)
    panels[0].plot(n, [100 * row["should_grow"] for row in rows], **should)
    panels[1].plot(n, [100 * row["wrong"] for row in rows], **drawn)
    panels[2].plot(n, [row["next"] for row in rows], **drawn)
    panels[2].plot(n, [row["next_true"] for row in rows], **should)
