"""Made-up traces, and figures looked at as matplotlib objects instead of files."""

from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.figure import Figure


def drawn(draw, *args, **settings) -> Figure:
    """The figure that a function saves, without saving it; its path comes after the other positional arguments."""
    unsaved = mock.patch("hfbench.figures.style.write_atomically", lambda path, write: write(path))
    with unsaved, mock.patch.object(Figure, "savefig", autospec=True) as saved:
        draw(*args, Path("unused"), **settings)
    return saved.call_args_list[0].args[0]


def lines(axes, colour, least=2):
    """The lines of that colour with at least that many points, as (x, y) arrays."""
    found = [line for line in axes.get_lines() if to_hex(line.get_color()) == colour and len(line.get_xdata()) >= least]
    return [(np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)) for line in found]


def words(figure):
    """Everything written in a figure, in one text."""
    legends = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    texts = [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
    return " ".join([*texts, *legends]).replace("\n", " ")


def trace(steps=12, scale=1.0, **columns):
    """A trace of that many steps; work and the like grow, the error falls, all times `scale`."""
    k = np.arange(steps + 1.0)
    values = {
        "iteration": k.astype(int),
        "work": 3.0 * k,
        "seconds": 0.3 * k,
        "products": 12.0 * k,
        "distinct_cases": np.minimum(50 * k, 500).astype(int),
        "batch_gradient": np.where(k > 0, 50 * k, np.nan),
        "batch_curvature": np.where(k > 0, 25 * k, np.nan),
        "batch_reason": [None, "start", *["keep"] * (steps - 1)][: steps + 1],
        "test_error": scale * 80 / (1 + k),
        "validation_objective": scale * 300 / (1 + k),
        "inner_iterations": np.where(k > 0, 10 + k, np.nan),
        "damping": np.where(k > 0, 45 * 0.7**k, np.nan),
        "rho": np.where(k > 0, 0.9, np.nan),
    }
    return pd.DataFrame(values | columns)
