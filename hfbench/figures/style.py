"""Style of all figures: one colour, dash and marker per method, one theme, one layout, one way to save.

matplotlib and seaborn are imported only when a figure is drawn.
"""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hfbench.records.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

# Petroff's eight colours (arXiv 2107.02270): told apart under every common colour blindness; dashes and markers serve
# those who print in black. From the ninth method on the same darkened by 40 %, the shade that is farthest from all.
COLOURS = ("#1845fb", "#ff5e02", "#c91f16", "#c849a9", "#adad7d", "#86c8dd", "#578dff", "#656364")
DARKER = ("#0e2997", "#993801", "#79130d", "#782c65", "#68684b", "#507885", "#345599", "#3d3b3c")
DASHES = ((), (4, 1.5), (1, 1.2), (4, 1.2, 1, 1.2), (7, 1.5, 1, 1.2, 1, 1.2))
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "h")
INK = "#262626"  # what belongs to no method: targets, budgets, effects
FAINT = "#757575"  # captions and remarks
ACROSS = 3  # panels side by side
WRAP = 24  # characters of a name on one line


@dataclass(frozen=True)
class Style:
    """What tells a method from the others in every figure of a study."""

    colour: str
    dashes: tuple[float, ...]
    marker: str

    @property
    def line(self) -> dict[str, Any]:
        """Arguments of `plot` for a curve."""
        return {"color": self.colour, "dashes": self.dashes}

    @property
    def points(self) -> dict[str, Any]:
        """Arguments of `plot` for points without a line."""
        return {"color": self.colour, "marker": self.marker, "linestyle": "none"}


def styles(methods: Iterable[str]) -> dict[str, Style]:
    """A style per method by its place among the study's methods: 720 combinations before they repeat."""
    colours = (*COLOURS, *DARKER)
    return {
        method: Style(colours[index % len(colours)], DASHES[index % len(DASHES)], MARKERS[index % len(MARKERS)])
        for index, method in enumerate(dict.fromkeys(methods))
    }


def styles_of(records: pd.DataFrame, methods: Sequence[str] | None) -> dict[str, Style]:
    """The styles of the methods that have runs, by their place among the study's; those not named come after."""
    there = list(dict.fromkeys(records["method"]))
    return {method: look for method, look in styles([*(methods or ()), *there]).items() if method in there}


@contextmanager
def theme() -> Iterator[None]:
    """The settings under which a figure is laid out and saved; whatever the user's own are, the files are the same."""
    import seaborn as sns
    from matplotlib import style

    settings = {
        **sns.axes_style("ticks"),
        **sns.plotting_context("paper", font_scale=1.1),
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so it is there on every machine
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.unicode_minus": False,
        "grid.alpha": 0.3,
        "svg.hashsalt": "hfbench",
        "pdf.fonttype": 42,  # TrueType, embedded: journals refuse the default, Type 3
    }
    with style.context(["default", settings]):
        yield


_in_pdf: ContextVar[bool] = ContextVar("_in_pdf", default=False)


@contextmanager
def also_in_pdf(wanted: bool = True) -> Iterator[None]:
    """In the block, every figure is saved as PDF too, for papers."""
    before = _in_pdf.set(wanted)
    try:
        yield
    finally:
        _in_pdf.reset(before)


def blank(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """An empty figure of that size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def titled(width: float, height: float, title: str) -> Figure:
    """A blank figure of that size in inches, its title, if there is one, at the top."""
    figure = blank(width, height)
    if title:
        figure.text(
            0.5, 1 - 0.12 / height, without_mathtext(title), ha="center", va="top", weight="bold", fontsize="large"
        )
    return figure


def text_width(figure: Figure, text: str, weight: str = "normal") -> float:
    """The inches a text takes in the small font."""
    probe = figure.text(0, 0, text, fontsize="small", weight=weight)
    width = float(probe.get_window_extent().width) / figure.dpi
    probe.remove()
    return width


def new_page(
    panel: tuple[float, float],
    shape: tuple[int, int] = (1, 1),
    *,
    title: str = "",
    caption: str = "",
    legend: Sequence[tuple[Any, str]] = (),
    **subplots: Any,
) -> tuple[Figure, Any]:
    """A figure of shape = (rows, columns) panels of the size given in inches, and its axes in an array of that shape.

    The legend, (handle, name) pairs, stands at the right, the caption below. Further arguments go to `subplots`.
    """
    names = [wrapped(name) for _, name in legend]
    lines = [line for name in names for line in name.split("\n")]
    width = panel[0] * shape[1] + (0.9 + 0.085 * max(map(len, lines)) if lines else 0.0)
    below = paragraph(caption, width)
    height = panel[1] * shape[0] + 0.3 * bool(title) + 0.16 * (below.count("\n") + 1) * bool(below)
    figure = blank(width, max(height, 0.6 + 0.19 * len(lines)), layout="constrained")
    panels = figure.subplots(*shape, squeeze=False, **subplots)
    if title:
        figure.suptitle(without_mathtext(title), weight="bold")
    if below:
        figure.supxlabel(without_mathtext(below), fontsize="small", color=FAINT)
    if legend:
        handles = [handle for handle, _ in legend]
        figure.legend(handles, names, loc="outside right upper", frameon=False, handlelength=3.2)
    return figure, panels


def task_page(
    tasks: Sequence[str], panel: tuple[float, float], *, legend: Sequence[tuple[Any, str]] = (), **text: str
) -> tuple[Figure, list[Axes]]:
    """A page with a panel for each task, three in a row."""
    across = max(1, min(ACROSS, len(tasks)))
    figure, panels = new_page(panel, (max(1, math.ceil(len(tasks) / across)), across), legend=legend, **text)
    for axes in panels.flat[max(len(tasks), 1) :]:
        axes.remove()
    for axes, task in zip(panels.flat, tasks, strict=False):
        axes.set_title(without_mathtext(task), loc="left", weight="bold")
    return figure, list(panels.flat[: max(len(tasks), 1)])


def without_panels(tasks: Sequence[str], shown: Sequence[str]) -> str:
    """The end of a caption that names the tasks without a panel; empty if every task has one, or none has."""
    absent = [task for task in tasks if task not in shown]
    return f" Nothing to show on {', '.join(absent)}." if absent and shown else ""


def save(figure: Figure, path: str | Path) -> list[Path]:
    """Writes `path`.png and `path`.svg, the same bytes for the same figure, and returns the paths.

    In a block of `also_in_pdf` there is a third, `path`.pdf, with the fonts embedded.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _settle(figure)
    kinds: dict[str, dict[str, Any]] = {"png": {"dpi": 160}, "svg": {"metadata": {"Date": None}}}
    if _in_pdf.get():
        kinds["pdf"] = {"metadata": {"CreationDate": None}}
    files = {kind: path.with_name(f"{path.name}.{kind}") for kind in kinds}
    for kind, file in files.items():
        write_atomically(file, partial(figure.savefig, format=kind, **kinds[kind]))
    return list(files.values())


def _settle(figure: Figure) -> None:
    """Lays a figure out once and for all, with positions rounded.

    The solver of the layout goes through sets, so that its last digits change from process to process, and matplotlib
    makes names in an SVG of all digits.
    """
    if figure.get_layout_engine() is None:
        return
    dpi, figure.dpi = figure.dpi, 72.0  # as an SVG is drawn
    figure.draw_without_rendering()
    figure.dpi = dpi
    figure.set_layout_engine(None)  # not "none", for which every file would be drawn twice
    for axes in figure.axes:
        left, bottom, width, height = (round(float(edge), 6) for edge in axes.get_position(original=True).bounds)
        axes.set_position((left, bottom, width, height))


def method_legend(looks: Mapping[str, Style], counts: Mapping[str, int] | None = None) -> list[tuple[Line2D, str]]:
    """Line, marker and name of every method; with its number of seeds where these differ."""
    from matplotlib.lines import Line2D

    differ = counts is not None and len(set(counts.values())) > 1
    return [
        (
            Line2D([], [], **look.line, marker=look.marker, linewidth=1.8),
            f"{method} (n\u00a0=\u00a0{counts[method]})" if differ and counts is not None else method,
        )
        for method, look in looks.items()
    ]


def wrapped(name: str, width: int = WRAP) -> str:
    """A name read literally, on lines of about that many characters, broken after spaces and signs where it has some.

    A space that must not break is a no-break space.
    """
    lines = [""]
    for piece in re.findall(r"[^ \-_+/:]*[ \-_+/:]?", name):
        for start in range(0, len(piece), width):
            part = piece[start : start + width]
            if len(lines[-1] + part.rstrip(" ")) > width:
                lines.append("")
            lines[-1] += part
    return without_mathtext("\n".join(line.strip(" ") for line in lines))


def paragraph(text: str, inches: float) -> str:
    """A caption on as few lines as its width allows, all about as long."""
    per_line = int(inches * 14.5)
    rows = math.ceil(len(text) / per_line)
    return textwrap.fill(text, min(per_line, len(text) // rows + 12)) if text else ""


def without_mathtext(text: str) -> str:
    """Text with its dollars kept from being read as formulas."""
    return text.replace("$", r"\$")
