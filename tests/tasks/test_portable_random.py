"""Random numbers of generated data, pinned to the bit."""

from __future__ import annotations

import numpy as np

from hfbench.tasks.portable_random import uniform

PINNED = ["0x1.461fd79fb3850p-1", "0x1.1442f7e20b674p-2"]


def test_numbers_are_those_of_numpys_generator_and_pinned() -> None:
    assert [float(number).hex() for number in uniform(2, 0)] == PINNED
    assert np.array_equal(uniform(1000, 3), np.random.Generator(np.random.PCG64(3)).random(1000))


def test_they_are_uniform_and_a_longer_draw_begins_like_a_shorter_one() -> None:
    drawn = uniform(100_000, 1)
    assert np.array_equal(drawn[:10], uniform(10, 1))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    np.testing.assert_allclose(np.histogram(drawn, 10, (0, 1))[0] / len(drawn), 0.1, atol=0.005)
