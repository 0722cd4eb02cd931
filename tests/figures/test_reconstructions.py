"""Originals beside reconstructions."""

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from support.drawn_figures import drawn, words

from hfbench.errors import ConfigError
from hfbench.figures import reconstructions
from hfbench.figures.style import COLOURS

ORIGINALS = np.linspace(0, 1, 2 * 6 * 4).reshape(2, 6, 4)


def pixels(axes):
    return np.asarray(axes.images[0].get_array())


def test_originals_come_first_and_a_row_per_method():
    images = {"b": ORIGINALS * 0.5, "hf": torch.tensor(ORIGINALS * 0.9, requires_grad=True)}
    figure = drawn(reconstructions, ORIGINALS, images, errors={"hf": [1.234, 20.0]}, methods=["hf", "b"])
    assert len(figure.axes) == 6
    for place, expected in enumerate((ORIGINALS, ORIGINALS * 0.9, ORIGINALS * 0.5)):
        np.testing.assert_allclose(pixels(figure.axes[2 * place]), expected[0])
        np.testing.assert_allclose(pixels(figure.axes[2 * place + 1]), expected[1])
    names = [figure.axes[2 * place].yaxis.label for place in range(3)]
    assert [name.get_text() for name in names] == ["originals", "hf", "b"]
    assert [to_hex(name.get_color()) for name in names[1:]] == list(COLOURS[:2])
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "", "1.23", "20.00", "", ""]


def test_all_images_share_one_grey_scale():
    figure = drawn(reconstructions, ORIGINALS, {"hf": ORIGINALS * 0.01})
    assert {axes.images[0].get_clim() for axes in figure.axes} == {(0.0, 1.0)}


def test_images_keep_their_shape():
    figure = drawn(reconstructions, ORIGINALS, {"hf": ORIGINALS}, title="usps")
    box = figure.axes[0].get_window_extent()
    assert box.height / box.width == pytest.approx(6 / 4)


def test_pixels_that_are_not_finite_are_masked_and_explained():
    broken = ORIGINALS.copy()
    broken[0, 0, 0] = np.nan
    figure = drawn(reconstructions, ORIGINALS, {"hf": broken})
    assert figure.axes[2].images[0].get_array().mask.sum() == 1
    assert "Red: not finite." in words(figure)


@pytest.mark.parametrize(
    ("originals", "images", "errors", "message"),
    [
        (ORIGINALS[0], {}, None, r"originals must have shape \(k, h, w\)"),
        (ORIGINALS[:0], {}, None, "k > 0"),
        (ORIGINALS, {"hf": ORIGINALS[:1]}, None, r"reconstructions of hf must have shape \(2, 6, 4\)"),
        (ORIGINALS, {"hf": ORIGINALS}, {"hf": [1.0]}, r"errors of hf must have shape \(2,\)"),
    ],
)
def test_shapes_that_do_not_match_are_errors(originals, images, errors, message):
    with pytest.raises(ConfigError, match=message):
        drawn(reconstructions, originals, images, errors=errors)
