"""What all figures share: styles, files that are the same twice, and figures of hardly any data."""

import itertools
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from support.drawn_figures import drawn, trace, words
from support.result_tables import runs

from hfbench import figures
from hfbench.figures import styles
from hfbench.figures.style import COLOURS, new_page, paragraph, theme, wrapped
from hfbench.statistics.comparisons import compare

TESTS = str(Path(__file__).parents[1])
LONG = ["hf", "hf+lsmr of a $very$ long name", "no_break_in_this_name_but_underscores", "adam", *"efgh"]


def test_a_method_is_known_by_its_place_in_the_study():
    looks = styles(["hf", "shf", "hf", "adam"])
    assert list(looks) == ["hf", "shf", "adam"]
    assert [look.colour for look in looks.values()] == list(COLOURS[:3])
    assert styles(["hf", "adam"])["adam"] == looks["shf"]


def test_seven_hundred_and_twenty_methods_look_different():
    assert len(set(styles(f"m{i}" for i in range(720)).values())) == 720


def lab(colour):
    """CIELAB of an sRGB colour under D65: equal distances look about equally large."""
    value = np.array(to_rgb(colour))
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    xyz = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]] @ linear
    x, y, z = np.cbrt(np.maximum(xyz / [0.9505, 1.0, 1.0888], 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_sixteen_methods_have_colours_of_their_own():
    """Ticks at the target, bars and shades have neither dash nor marker. The nearest of eight are 28 apart."""
    looks = list(styles(f"m{i}" for i in range(16)).values())
    nearest = min(np.linalg.norm(lab(a.colour) - lab(b.colour)) for a, b in itertools.combinations(looks, 2))
    assert nearest > 15


def test_where_a_colour_comes_back_dash_and_marker_are_others():
    looks = list(styles(f"m{i}" for i in range(40)).values())
    for one, other in itertools.combinations(looks, 2):
        if one.colour == other.colour:
            assert one.dashes != other.dashes
            assert one.marker != other.marker


def test_neighbours_differ_in_colour_dash_and_marker():
    for one, other in itertools.pairwise(styles("abcdefgh").values()):
        assert one.colour != other.colour
        assert one.dashes != other.dashes
        assert one.marker != other.marker


def test_long_names_break_after_signs_and_keep_every_letter():
    name = "hf-chapelle-erhan_dynamic_batch " + 40 * "x"
    lines = wrapped(name, 20).split("\n")
    assert max(map(len, lines)) <= 20
    assert lines[0] == "hf-chapelle-erhan_"
    assert "".join(lines).replace(" ", "") == name.replace(" ", "")
    assert wrapped("of $x$") == r"of \$x\$"


def test_a_caption_has_no_lone_last_word():
    lines = paragraph("word " * 29, inches=10).split("\n")
    assert len(lines) == 1 or len(lines[-1]) > 20


def test_the_page_ignores_the_settings_of_the_user():
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.hashsalt": None}), theme():
        figure, panels = new_page((3, 2))
        assert matplotlib.rcParams["svg.hashsalt"] == "hfbench"
        assert matplotlib.rcParams["font.size"] < 12
        assert panels[0, 0].get_facecolor()[:3] == (1, 1, 1)
    assert matplotlib.rcParams["svg.hashsalt"] is None


# ---------------------------------------------------------------- every figure


def table(methods, seeds=6, tasks=("usps", "mnist"), solved=True):
    costs = {m: {s: 50.0 + 7 * s + 20 * i if solved else None for s in range(seeds)} for i, m in enumerate(methods)}
    records = pd.concat([runs(costs, task=task) for task in tasks], ignore_index=True)
    return records.assign(peak_memory=400 * 2**20 if solved else None)


def every_figure(methods, traces, records):
    """(name, function, its arguments before the path, settings) of every figure."""
    levels = {method: (place % 2, place // 2 % 2) for place, method in enumerate(methods[:4])}
    ends = {"ratio_low": 0.5, "ratio_high": 0.5, "ci_low": 0.0, "ci_high": np.inf, "ci_level": 0.95}
    effects = [SimpleNamespace(task="usps", name="a:b", verdict="synergy", **ends)]
    images = {method: np.random.default_rng(0).random((3, 8, 6)) for method in methods}
    of_study = {"methods": methods}
    yield "convergence", figures.convergence, (traces,), {"target": 8.0, "title": "usps & $co"} | of_study
    yield "four_costs", figures.four_costs, (traces,), {"target": 8.0, "cases": 500} | of_study
    yield "batches", figures.batches, (traces,), of_study
    yield "inner", figures.inner, (traces,), of_study
    yield "comparisons", figures.comparisons_forest, (compare(records, methods[0]) if len(records) else [],), of_study
    yield "effects", figures.forest, (figures.effect_rows(effects),), {"margin": 1.1, "title": "effects"}
    yield "profile", figures.profile, (records,), of_study
    yield "reached", figures.reached, (records,), {"title": "$x$"} | of_study
    yield "memory", figures.memory, (records,), {"baseline": methods[0]} | of_study
    yield "interactions", figures.interactions, (records,), {"factors": ("a", "b"), "levels": levels}
    yield "images", figures.reconstructions, (np.zeros((3, 8, 6)), images), of_study


def written(folder, methods, traces, records, names):
    files = {}
    for name, draw, args, settings in every_figure(methods, traces, records):
        if name not in names:
            continue
        png, svg = draw(*args, folder / f"{name}.v1", **settings)
        assert (png.name, svg.name) == (f"{name}.v1.png", f"{name}.v1.svg")
        files |= {path.name: path.read_bytes() for path in (png, svg)}
    return files


def test_a_figure_is_the_same_file_twice(tmp_path):
    traces = {(method, seed): trace(10 + seed, 1 + 0.1 * seed) for method in ("hf", "a <b>") for seed in range(6)}
    given = ["hf", "a <b>"], traces, table(["hf", "a <b>"], tasks=("usps",))
    each_kind = ("convergence", "batches", "comparisons", "memory", "images")
    first, second = (written(tmp_path / name, *given, each_kind) for name in ("first", "second"))
    assert len(first) == 2 * len(each_kind)
    assert [name for name in first if first[name] != second[name]] == []
    for name, data in first.items():
        if name.endswith(".png"):
            assert data.startswith(b"\x89PNG")
        else:
            ElementTree.fromstring(data)
            assert b"<dc:date>" not in data


def test_for_papers_a_figure_is_a_pdf_too_with_its_fonts_and_without_a_date(tmp_path):
    given = {("hf", seed): trace(10 + seed) for seed in range(6)}
    alone = figures.convergence(given, tmp_path / "alone", title="ρ ≤ λ")
    assert [path.suffix for path in alone] == [".png", ".svg"]
    with figures.also_in_pdf():
        first, second = (figures.convergence(given, tmp_path / name, title="ρ ≤ λ") for name in ("first", "second"))
    assert [path.name for path in first] == ["first.png", "first.svg", "first.pdf"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert [path.read_bytes() for path in first[:2]] == [path.read_bytes() for path in alone]
    pdf = first[2].read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, which journals take, where the default is Type 3
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf


def test_a_pdf_is_the_same_file_in_every_process(tmp_path):
    program = """
import sys
from pathlib import Path
from support.drawn_figures import trace
from hfbench import figures
with figures.also_in_pdf():
    figures.convergence({("hf", seed): trace(5) for seed in range(2)}, Path(sys.argv[1]), title="\u03c1 <b>")
"""
    for seed in ("1", "2"):
        command = [sys.executable, "-c", program, str(tmp_path / seed)]
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": TESTS}, check=True)
    assert (tmp_path / "1.pdf").read_bytes() == (tmp_path / "2.pdf").read_bytes()


def beyond_limits(axes):
    """The labels of ticks that are not drawn because they lie outside the view."""
    views = ((axes.xaxis, 0, sorted(axes.get_xlim())), (axes.yaxis, 1, sorted(axes.get_ylim())))
    for axis, place, (low, high) in views:
        yield from (text for text in axis.get_ticklabels() if not low <= text.get_position()[place] <= high)


def outside(figure):
    """The words that reach beyond the figure's edges."""
    edges = figure.bbox.padded(1)
    texts = [one for one in figure.findobj(Text) if one.get_visible() and one.get_text().strip()]
    unseen = {text for one in figure.axes for axes in (one, *one.child_axes) for text in beyond_limits(axes)}
    boxes = ((one.get_text(), one.get_window_extent()) for one in texts if one not in unseen)
    return [text for text, box in boxes if not (edges.contains(box.x0, box.y0) and edges.contains(box.x1, box.y1))]


@pytest.mark.parametrize(
    ("methods", "traces", "records"),
    [
        (["hf"], {("hf", 0): trace(3)}, table(["hf"], seeds=1)),
        (["hf", "b"], {("hf", 0): trace(0), ("b", 0): trace(2).iloc[:0]}, table(["hf", "b"], seeds=2, solved=False)),
        (["hf"], {}, table(["hf"]).iloc[:0]),
        (LONG, {(m, s): trace(6 + s) for m in LONG for s in range(2)}, table(LONG, seeds=2)),
    ],
    ids=["one seed", "nothing reached", "no runs", "eight methods"],
)
def test_with_hardly_any_data_or_too_many_methods_no_word_is_cut_off(methods, traces, records):
    for name, draw, args, settings in every_figure(methods, traces, records):
        figure = drawn(draw, *args, **settings)
        with theme():
            figure.draw_without_rendering()
        assert outside(figure) == [], name


@pytest.mark.parametrize("kind", ["traces", "records"])
def test_a_method_drawn_alone_wears_the_colour_it_has_among_all(kind):
    traces = {("b", seed): trace(5) for seed in range(2)}
    of_kind = {
        "traces": (traces, [figures.convergence, figures.four_costs, figures.batches, figures.inner]),
        "records": (table(["b"], solved=False), [figures.profile, figures.reached]),
    }
    data, functions = of_kind[kind]
    for draw in functions:
        colours = {line.get_color() for axes in drawn(draw, data, methods=["a", "b"]).axes for line in axes.get_lines()}
        assert COLOURS[1] in colours, draw
        assert COLOURS[0] not in colours, draw


def test_names_are_written_as_they_are():
    figure = drawn(figures.reached, table(["of $x$ and $y$"]), title="$z$")
    assert r"of \$x\$ and \$y\$" in words(figure)
    assert r"\$z\$" in words(figure)


def test_plotting_libraries_wait_for_the_first_figure():
    code = "import sys, hfbench.figures; sys.exit('matplotlib' in sys.modules or 'seaborn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
