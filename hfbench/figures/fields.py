"""The solution of an equation, what each method learned, and the error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfbench.errors import ConfigError
from hfbench.figures.axes import Array, short_number
from hfbench.figures.style import FAINT, INK, blank, save, styles, text_width, theme, titled, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

WIDTH, TALL = 2.1, 1.6  # inches of a panel
GAP, BAR = 0.45, 0.09  # between columns; width of a colour bar
ASIDE = 0.24  # of a panel's width, between its frame and its name
DECADES = 4  # of errors that are told apart below the largest

Field = Mapping[str, Any]


@theme()
def fields(
    shown: Mapping[str, Field], path: str | Path, *, title: str = "", methods: Sequence[str] | None = None
) -> list[Path]:
    """Draws the solution, and below it a row per method: what was learned, and the absolute error on one log scale.

    `shown` has per method `solution` and `prediction` (h, w) with rows upward, `axes`, the names across and up, and
    `extent`, left, right, bottom and top. The relative L2 error stands beside the name. Values that are not finite are
    grey. Raises ConfigError where shapes do not match.
    """
    from matplotlib.colors import LogNorm, Normalize

    looks = {name: look for name, look in styles([*(methods or ()), *shown]).items() if name in shown}
    if not looks:
        raise ConfigError("shown must have at least one method, but is empty.")
    first = shown[next(iter(looks))]
    solution = np.asarray(first["solution"], dtype=float)
    learned = {name: _checked(name, shown[name]["prediction"], solution.shape) for name in looks}
    errors = {name: np.abs(values - solution) for name, values in learned.items()}
    most = max((float(e[np.isfinite(e)].max(initial=0.0)) for e in errors.values()), default=0.0) or 1.0
    bound = float(np.abs(solution).max()) or 1.0
    of_values, of_errors = Normalize(-bound, bound), LogNorm(most / 10**DECADES, most)
    figure, panels = _grid(["solution", *looks], title)
    _panel(panels[0][0], solution, first, of_values, "RdBu_r")
    panels[0][0].set_title("value", fontsize="small")
    panels[0][1].set_axis_off()
    panels[1][1].set_title("absolute error", fontsize="small")
    _name(panels[0][0], "solution", INK)
    size = float(np.sqrt(np.mean(solution**2))) or 1.0
    for (of_learned, of_error), (name, look) in zip(panels[1:], looks.items(), strict=True):
        _panel(of_learned, learned[name], first, of_values, "RdBu_r")
        _panel(of_error, np.maximum(errors[name], most / 10**DECADES), first, of_errors, "viridis")
        _name(of_learned, name, look.colour)
        relative = float(np.sqrt(np.mean(errors[name] ** 2))) / size
        said = f"error {short_number(relative)}" if np.isfinite(relative) else "not finite"
        _beside(of_learned, said, 0.12, color=FAINT)
    return save(figure, path)


def _checked(name: str, values: Any, shape: tuple[int, ...]) -> Array:
    found = np.asarray(values, dtype=float)
    if len(shape) != 2 or found.shape != shape:
        raise ConfigError(
            f"prediction of {name} must have the solution's shape (h, w), {shape}, but got {found.shape}."
        )
    return found


def _grid(names: Sequence[str], title: str) -> tuple[Figure, list[tuple[Axes, Axes]]]:
    """Two panels a row, sized in inches."""
    probe = blank(1, 1)
    left = max(0.8, *(text_width(probe, wrapped(name), weight="bold") for name in names)) + ASIDE * WIDTH + 0.1
    head, below = 0.75 if title else 0.4, 0.5
    width, height = left + 2 * (WIDTH + GAP) + 0.55, head + len(names) * (TALL + below)
    figure = titled(width, height, title)
    panels = []
    for row in range(len(names)):
        bottom = height - head - row * (TALL + below) - TALL
        boxes = [
            (x / width, bottom / height, WIDTH / width, TALL / height) for x in (left, left + WIDTH + GAP + BAR + 0.35)
        ]
        panels.append((figure.add_axes(boxes[0]), figure.add_axes(boxes[1])))
    return figure, panels


def _panel(axes: Axes, values: Array, field: Field, norm: Normalize, colours: str) -> None:
    from matplotlib import colormaps

    colours_of = colormaps[colours].with_extremes(bad="#bbbbbb")
    left, right, bottom, top = (float(end) for end in field["extent"])
    image = axes.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        extent=(left, right, bottom, top),
        cmap=colours_of,
        norm=norm,
        aspect="auto",
    )
    across, up = (str(name) for name in field["axes"])
    axes.set_xlabel(across, labelpad=1)
    axes.set_ylabel(up, labelpad=1)
    axes.grid(False)
    axes.tick_params(labelsize="small")
    bar = axes.inset_axes((1.03, 0.0, BAR / WIDTH, 1.0))
    assert axes.figure is not None
    axes.figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize="x-small", length=2)


def _name(axes: Axes, name: str, colour: str) -> None:
    _beside(axes, wrapped(name), 0.6, color=colour, weight="bold")


def _beside(axes: Axes, text: str, height: float, **look: Any) -> None:
    axes.text(-ASIDE, height, text, transform=axes.transAxes, ha="right", va="center", fontsize="small", **look)
