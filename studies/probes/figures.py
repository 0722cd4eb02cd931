"""Figures of probes: small multiples over the systems of one moment of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hfbench.studies.figure_style import FAINT, Style, method_legend, page, save, styles, theme

from .duel import Solve

QUANTITIES = {
    "residual": "‖b - Ax‖ / ‖b‖",
    "gap": "1 - q / q*",
    "change_train": "change of f, training",
    "change_test": "change of f, test",
}
LOGARITHMIC = ("residual", "gap")
FLOOR = 1e-15  # nothing below it is told apart


def draw_solvers(solves: Sequence[Solve], into: Path) -> Iterator[Path]:
    """A figure for each iteration of each run, a column for every lambda, in `into`."""
    looks = styles(solve.arm.name for solve in solves)
    for moment in dict.fromkeys(solve.moment for solve in solves):
        yield from _draw_moment(
            [solve for solve in solves if solve.moment == moment], looks, into / f"solvers-{moment}"
        )


@theme()
def _draw_moment(solves: Sequence[Solve], looks: Mapping[str, Style], path: Path) -> list[Path]:
    """Residual, quadratic and true change of f against iterations; a marker where relative progress stops."""
    systems = {solve.system: solve.damping for solve in solves}
    figure, panels = page(
        (2.9, 1.75),
        (len(QUANTITIES), len(systems)),
        title=solves[0].moment,
        caption="Markers: where relative progress stops. f is that of all the cases, not of the batch.",
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
