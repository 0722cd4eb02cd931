"""Solution, what was learned, and its error."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from support.drawn_figures import drawn, words

from hfbench.errors import ConfigError
from hfbench.figures import fields
from hfbench.figures.style import COLOURS

SOLUTION = np.outer(np.arange(1, 5), [1.0, -1.0, 2.0])


def field(prediction):
    return {"solution": SOLUTION, "prediction": prediction, "axes": np.array(["t", "x"]), "extent": [0, 2, -1, 1]}


def pixels(axes):
    return np.asarray(axes.images[0].get_array())


def test_the_solution_comes_first_and_a_row_per_method():
    figure = drawn(fields, {"b": field(SOLUTION * 1.5), "hf": field(SOLUTION * 1.1)}, methods=["hf", "b"])
    shown = [axes for axes in figure.axes if axes.images]
    expected = [SOLUTION, SOLUTION * 1.1, abs(SOLUTION) * 0.1, SOLUTION * 1.5, abs(SOLUTION) * 0.5]
    for axes, values in zip(shown, expected, strict=True):
        np.testing.assert_allclose(pixels(axes), values)
    said = [text for axes in shown for text in axes.texts]
    assert [text.get_text() for text in said] == ["solution", "hf", "error 0.10", "b", "error 0.50"]
    assert [to_hex(text.get_color()) for text in said[1::2]] == list(COLOURS[:2])


def test_axes_have_names_ends_and_rows_upward():
    shown = [axes for axes in drawn(fields, {"hf": field(SOLUTION)}).axes if axes.images]
    for axes in shown:
        assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xlim(), axes.get_ylim()) == ("t", "x", (0, 2), (-1, 1))
        assert axes.images[0].origin == "lower"


def test_errors_share_one_scale_and_values_another():
    figure = drawn(fields, {"a": field(SOLUTION * 1.5), "b": field(SOLUTION * 1.001)})
    shown = [axes for axes in figure.axes if axes.images]
    assert {axes.images[0].get_clim() for axes in (shown[0], shown[1], shown[3])} == {(-8.0, 8.0)}
    assert {axes.images[0].get_clim() for axes in (shown[2], shown[4])} == {(4.0e-4, 4.0)}


def test_values_that_are_not_finite_are_masked_and_said():
    broken = SOLUTION.copy()
    broken[0, 0] = np.nan
    figure = drawn(fields, {"hf": field(broken)})
    shown = [axes for axes in figure.axes if axes.images]
    assert shown[1].images[0].get_array().mask.sum() == 1
    assert "not finite" in words(figure)


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        ({}, "shown must have at least one method"),
        ({"hf": field(SOLUTION[:2])}, r"prediction of hf must have the solution's shape \(h, w\), \(4, 3\)"),
    ],
)
def test_shapes_must_match(tmp_path, shown, message):
    with pytest.raises(ConfigError, match=message):
        fields(shown, tmp_path / "fields")
