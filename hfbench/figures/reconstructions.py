"""Originals beside each method's reconstructions."""

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
    from matplotlib.figure import Figure

WIDTH = 0.78  # inches of an image
GAP, SAID = 0.06, 0.24  # between columns; below a row, where its errors stand


@theme()
def reconstructions(
    originals: Any,
    images: Mapping[str, Any],
    path: str | Path,
    *,
    errors: Mapping[str, Any] | None = None,
    title: str = "",
    methods: Sequence[str] | None = None,
) -> list[Path]:
    """Draws a row of originals and below it a row of reconstructions per method, with its error under each image.

    Tensors or arrays of shape (k, h, w); `errors` holds per method k squared errors, summed over pixels. All images
    share one grey scale, [0, 1] or wider if the originals are. Pixels that are not finite are red. Raises ConfigError
    where shapes do not match.
    """
    truth = _array(originals)
    if truth.ndim != 3 or not truth.size:
        raise ConfigError(f"originals must have shape (k, h, w) with k > 0, but got {truth.shape}.")
    looks = {name: look for name, look in styles([*(methods or ()), *images]).items() if name in images}
    rows = {name: _checked(f"reconstructions of {name}", images[name], truth.shape) for name in looks}
    said = {name: _checked(f"errors of {name}", given, truth.shape[:1]) for name, given in (errors or {}).items()}
    figure, panels = _grid(truth.shape, ["originals", *looks], bool(said), title)
    scale = (min(0.0, float(np.nanmin(truth))), max(1.0, float(np.nanmax(truth))))
    _row(panels[0], truth, scale, "originals", INK)
    for axes, (name, look) in zip(panels[1:], looks.items(), strict=True):
        _row(axes, rows[name], scale, name, look.colour)
        for panel, error in zip(axes, said.get(name, ()), strict=False):
            panel.set_xlabel(short_number(error), fontsize="small", color=FAINT, labelpad=2)
    return save(figure, path)


def _array(values: Any) -> Array:
    """A tensor, wherever it is, or array as float64."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    return np.asarray(values, dtype=float)


def _checked(what: str, values: Any, shape: tuple[int, ...]) -> Array:
    found = _array(values)
    if found.shape != shape:
        raise ConfigError(f"{what} must have shape {shape}, one for each original, but got {found.shape}.")
    return found


def _grid(shape: tuple[int, ...], names: Sequence[str], said: bool, title: str) -> tuple[Figure, list[list[Axes]]]:
    """Axes by row and column, sized in inches so that images touch nothing and nothing is stretched."""
    k, h, w = shape
    tall = WIDTH * h / w
    below = SAID if said else GAP
    probe = blank(1, 1)
    left = max(text_width(probe, wrapped(name), weight="bold") for name in names) + 0.3
    head = 0.45 if title else 0.12
    width, height = left + k * (WIDTH + GAP) + 0.1, head + len(names) * (tall + below) + 0.34
    figure = titled(width, height, title)
    note = ("Numbers: squared error, summed over pixels. " if said else "") + "Red: not finite."
    figure.text(0.5, 0.07 / height, note, ha="center", va="bottom", fontsize="small", color=FAINT)
    panels = []
    for row in range(len(names)):
        bottom = height - head - row * (tall + below) - tall
        lefts = [left + column * (WIDTH + GAP) for column in range(k)]
        panels.append([figure.add_axes((x / width, bottom / height, WIDTH / width, tall / height)) for x in lefts])
    return figure, panels


def _row(panels: Sequence[Axes], images: Array, scale: tuple[float, float], name: str, colour: str) -> None:
    from matplotlib import colormaps

    grey = colormaps["gray"].with_extremes(bad="#c91f16")
    for axes, image in zip(panels, images, strict=True):
        finite = np.ma.masked_invalid(image)
        axes.imshow(finite, cmap=grey, vmin=scale[0], vmax=scale[1], interpolation="nearest", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.grid(False)
        for spine in axes.spines.values():
            spine.set_visible(True)
            spine.set_color("#bbbbbb")
            spine.set_linewidth(0.6)
    panels[0].set_ylabel(
        wrapped(name), rotation=0, ha="right", va="center", labelpad=8, fontsize="small", weight="bold", color=colour
    )
