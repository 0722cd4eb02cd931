"""Figures of the benchmark page, drawn from the same file as its tables; each names the rows that it shows."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from hfbench.figures.style import FAINT, method_legend, new_page, save, styles, task_page, theme

from .benchmark_page import FIGURES, on_cpus
from .outside import DOCS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = list[dict[str, Any]]
PANEL = (3.2, 2.6)  # inches


def write() -> list[str]:
    """Draws the figures whose rows have changed, and gives their paths below docs/."""
    found = on_cpus()
    stale = [name for name in FIGURES if name in found and shown(file(name)) != digest(found[name]["rows"])]
    with tempfile.TemporaryDirectory() as folder:
        for name in stale:
            rows = found[name]["rows"]
            _signed(DRAWINGS[name](rows, Path(folder) / name)[0], file(name), digest(rows))
    return [file(name).relative_to(DOCS).as_posix() for name in stale]


def file(name: str) -> Path:
    return DOCS / f"explanation/benchmark-{name}.png"


def digest(rows: Rows) -> str:
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def shown(png: Path) -> str:
    """The digest of the rows that a committed figure shows; empty if there is none."""
    if not png.is_file():
        return ""
    with Image.open(png) as picture:
        return str(picture.info.get("rows", ""))


def _signed(drawn: Path, png: Path, rows: str) -> None:
    """Copies a figure and adds the digest of its rows."""
    info = PngInfo()
    info.add_text("rows", rows)
    with Image.open(drawn) as picture:
        picture.save(png, pnginfo=info, dpi=picture.info["dpi"], optimize=True)


def product(rows: Rows, path: Path) -> list[Path]:
    """Product over floor; a line for each network, the middle half of the rounds in grey."""
    with theme():
        looks = styles(row["task"] for row in rows)
        figure, panels = new_page((4.6, 3.2), legend=method_legend(looks))
        axes = panels[0, 0]
        for task, look in looks.items():
            of_task = [row for row in rows if row["task"] == task]
            x = [row["cases"] for row in of_task]
            axes.plot(x, [row["ratio"] for row in of_task], **look.line, marker=look.marker)
            axes.fill_between(x, *([row[end] for row in of_task] for end in ("low", "high")), color=FAINT, alpha=0.2)
        _ratios(axes, rows)
        axes.set(xlabel="cases", ylabel="product / floor")
        return save(figure, path)


def peers(rows: Rows, path: Path) -> list[Path]:
    """Other packages' time over hfbench's; a panel for each network."""
    with theme():
        measured = [row for row in rows if row.get("ratio") is not None]
        looks, tasks = styles(row["side"] for row in measured), list(dict.fromkeys(row["task"] for row in rows))
        figure, panels = task_page(tasks, PANEL, legend=method_legend(looks))
        for axes, task in zip(panels, tasks, strict=True):
            for side, look in looks.items():
                of_side = [row for row in measured if (row["task"], row["side"]) == (task, side)]
                x, y = ([row[key] for row in of_side] for key in ("cases", "ratio"))
                axes.plot(x, y, **look.line, marker=look.marker)
            _ratios(axes, measured)
            axes.set(xlabel="cases", ylabel="time / hfbench's")
        return save(figure, path)


def growth(rows: Rows, path: Path) -> list[Path]:
    """Work and seconds, each over that of the smallest size, on logarithmic axes; dashed: linear growth."""
    with theme():
        looks = styles(["work", "seconds"])
        names = list(dict.fromkeys(row["axis"] for row in rows if row.get("size") is not None))
        figure, panels = new_page(PANEL, (1, len(names)), legend=method_legend(looks))
        for axes, name in zip(panels.flat, names, strict=True):
            of_axis = [row for row in rows if row["axis"] == name]
            x = [row["size"] for row in of_axis]
            for key, look in looks.items():
                axes.plot(x, [row[key] / of_axis[0][key] for row in of_axis], **look.line, marker=look.marker)
            axes.plot(x, [size / x[0] for size in x], color=FAINT, linestyle="--", linewidth=1, zorder=0)
            axes.set(xscale="log", yscale="log", xlabel=name)
        panels[0, 0].set_ylabel("cost / that of the smallest")
        return save(figure, path)


def _ratios(axes: Axes, rows: Rows) -> None:
    """From nought up to the largest, so that lengths compare; dashed where both sides take as long."""
    cases = sorted({row["cases"] for row in rows})
    axes.axhline(1, color=FAINT, linestyle="--", linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.set_xticks(cases, [str(n) for n in cases], rotation=45)
    axes.set_xticks([], minor=True)
    axes.set_ylim(0, 1.08 * max(row["ratio"] for row in rows))


DRAWINGS: dict[str, Callable[[Rows, Path], list[Path]]] = {"product": product, "peers": peers, "growth": growth}
