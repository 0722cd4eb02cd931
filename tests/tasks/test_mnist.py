"""IDX files, and the real MNIST where it is at hand."""

import struct

import numpy as np
import pytest
import torch

from hfbench.errors import DataError
from hfbench.parts.data_files import verify
from hfbench.tasks.mnist import MNIST, TEST, TRAIN, digit_pictures, parse_idx


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def idx(array):
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize("shape", [(7,), (3, 28, 28), (0, 28, 28), (2, 1, 3, 4)])
def test_parse_gives_back_what_was_written(shape):
    array = np.random.default_rng(0).integers(0, 256, size=shape, dtype=np.uint8)
    parsed = parse_idx(idx(array))
    assert parsed.dtype == torch.uint8
    np.testing.assert_array_equal(parsed.numpy(), array)


def test_pictures_are_rows_in_unit_range():
    array = np.zeros((2, 28, 28), dtype=np.uint8)
    array[1, 0, 2] = 255
    array[1, 1, 0] = 51
    rows = digit_pictures(idx(array))
    assert rows.shape == (2, 784)
    assert rows.dtype == torch.float32
    assert (rows[1, 2], rows[1, 28]) == (1.0, pytest.approx(0.2))
    assert rows.count_nonzero() == 2


GOOD = idx(np.zeros((2, 28, 28), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with 00 00 08"),
        (b"\x00\x00\x0d" + GOOD[3:], "must begin with 00 00 08 .* has 00 00 0d 03"),
        (b"\x00\x00\x08\x00", "must begin with 00 00 08"),
        (GOOD[:10], "must be .* bytes"),
        (GOOD[:-1], r"must be 1584 bytes for dimensions \(2, 28, 28\), but is 1583"),
        (GOOD + b"\x00", "must be 1584 bytes .* but is 1585"),
        (idx(np.zeros((2, 14, 56), dtype=np.uint8)), "must hold pictures of 28×28 pixels"),
        (idx(np.zeros(784, dtype=np.uint8)), "must hold pictures of 28×28 pixels"),
    ],
)
def test_content_that_is_something_else(content, message):
    with pytest.raises(DataError, match=f"mnist/file: {message}"):
        digit_pictures(content, "mnist/file")


@pytest.mark.data
def test_real_files_have_their_checksums():
    assert verify(TRAIN).name == "train-images-idx3-ubyte.gz"
    assert verify(TEST).name == "t10k-images-idx3-ubyte.gz"


@pytest.mark.data
def test_real_task():
    loaded = MNIST().load(generator())
    parts = (loaded.train, loaded.validation, loaded.test)
    assert [tuple(part.inputs.shape) for part in parts] == [(55_000, 784), (5000, 784), (10_000, 784)]
    for part in parts:
        assert (part.inputs.min(), part.inputs.max()) == (0, 1)
    assert loaded.test.inputs.mean().item() == pytest.approx(0.13251, abs=1e-5)
    assert torch.equal(MNIST(cases=100).load(generator()).train.inputs, loaded.train.inputs[:100])
