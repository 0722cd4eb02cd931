"""Convergence figures: resampling, cutting, and files that are the same twice."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from hfbench.studies.figures import COLOURS, band, convergence, resample, style


def trace(work, error, seconds=None):
    work = np.asarray(work, dtype=float)
    return pd.DataFrame({"work": work, "seconds": work / 9 if seconds is None else seconds, "test_error": error})


def falling(seed, end=100.0):
    work = np.concatenate([[0.0], np.geomspace(1, end, 30)])
    return trace(work, 80 / (1 + 0.1 * work) * (1 + 0.01 * seed))


def test_resampling_carries_the_last_record_forward():
    grid = np.array([0.5, 1.0, 1.9, 2.0, 3.0, 4.0, 4.1])
    values = resample(np.array([1.0, 2.0, 4.0]), np.array([10.0, 5.0, 1.0]), grid)
    np.testing.assert_array_equal(values, [np.nan, 10, 10, 5, 5, 1, np.nan])


def test_a_band_is_the_median_and_the_quartiles():
    found = band([trace([1, 10], [level, level]) for level in (1.0, 2.0, 3.0, 4.0, 5.0)], "work", "test_error")
    assert (found.x[0], found.x[-1]) == (1.0, 10.0)
    np.testing.assert_allclose(found.median, 3.0)
    np.testing.assert_allclose(found.low, 2.0)
    np.testing.assert_allclose(found.high, 4.0)


def test_a_band_ends_where_fewer_than_five_seeds_go_on():
    ends = [10, 20, 30, 40, 50, 60, 70]
    found = band([falling(0, end) for end in ends], "work", "test_error")
    assert found.x[-1] <= 30 < found.x[-1] * 1.02
    three = band([falling(0, end) for end in ends[:3]], "work", "test_error")
    assert three.x[-1] <= 10 < three.x[-1] * 1.02


def test_values_that_are_not_finite_are_absent():
    broken = trace([0, 1, 2, 3], [9.0, 8.0, np.inf, np.nan])
    assert band([broken], "work", "test_error").x[-1] == 1.0
    assert band([trace([0.0], [9.0])], "work", "test_error") is None
    assert band([], "work", "test_error") is None


def test_methods_keep_their_style():
    assert style(0)["color"] == COLOURS[0]
    looks = {(style(place)["color"], style(place)["dashes"]) for place in range(40)}
    assert len(looks) == 40


@pytest.fixture
def traces():
    rng = np.random.default_rng(0)
    return {(method, seed): falling(rng.random(), 100 + seed) for method in ("hf", "a $b$ <c>") for seed in range(6)}


def test_a_png_and_an_svg_are_written_and_are_the_same_twice(traces, tmp_path):
    settings = {"target": 8.0, "title": "usps & $co"}
    png, svg = convergence(traces, tmp_path / "figures" / "usps.v1", **settings)
    assert (png.name, svg.name) == ("usps.v1.png", "usps.v1.svg")
    assert png.read_bytes().startswith(b"\x89PNG")
    ElementTree.parse(svg)
    again = convergence(traces, tmp_path / "again", **settings)
    assert again[0].read_bytes() == png.read_bytes()
    assert again[1].read_bytes() == svg.read_bytes()


def test_colours_follow_the_order_of_the_study(traces, tmp_path):
    alone = {key: one for key, one in traces.items() if key[0] == "hf"}
    (_, svg) = convergence(alone, tmp_path / "one", x=["work"], methods=["other", "hf"])
    text = svg.read_text()
    assert COLOURS[1] in text
    assert COLOURS[0] not in text


def test_a_study_without_a_single_curve_still_gives_a_figure(tmp_path):
    png, _ = convergence({("hf", 0): trace([0.0], [9.0])}, tmp_path / "none", target=5.0)
    assert png.stat().st_size > 0


def test_plotting_libraries_wait_for_the_first_figure():
    code = "import sys, hfbench.studies.figures; sys.exit('matplotlib' in sys.modules or 'seaborn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
