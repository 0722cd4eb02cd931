"""MNIST's labels: files that are read, and files that are something else."""

import numpy as np
import pytest
import torch
from support.mnist_files import idx, written

from hfbench.errors import DataError
from hfbench.parts.data_files import read_file, verify
from hfbench.tasks.mnist_class import TEST_LABELS, TRAIN_LABELS, MNISTClass, labels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_labels_are_digits():
    read_labels = labels(idx(np.array([3, 0, 9], dtype=np.uint8)))
    assert read_labels.tolist() == [3, 0, 9]
    assert read_labels.dtype == torch.int64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must begin with 00 00 08"),
        (idx(np.zeros((3, 1), dtype=np.uint8)), r"must hold a label per case, but has dimensions \(3, 1\)"),
        (idx(np.array([3, 10], dtype=np.uint8)), "must hold labels 0 to 9"),
    ],
)
def test_labels_that_are_something_else(content, message):
    with pytest.raises(DataError, match=f"mnist/labels: {message}"):
        labels(content, "mnist/labels")


def test_small_mnist_files_keep_pictures_and_labels_together(tmp_path, monkeypatch):
    arrays = written(tmp_path, monkeypatch, train=40, test=9)
    loaded = MNISTClass(validation=15).load(generator(), str(tmp_path))
    assert [len(part) for part in (loaded.train, loaded.validation, loaded.test)] == [25, 15, 9]
    for part in (loaded.train, loaded.validation, loaded.test):
        assert torch.equal((255 * part.inputs[:, 0]).round().long(), part.targets)
    pool = torch.cat([loaded.train.inputs, loaded.validation.inputs])
    assert len(torch.unique(pool, dim=0)) == 40
    assert loaded.test.targets.tolist() == arrays["TEST_LABELS"].tolist()
    again, other = (MNISTClass(validation=15).load(generator(seed), str(tmp_path)) for seed in (0, 1))
    assert torch.equal(again.train.targets, loaded.train.targets)
    assert not torch.equal(other.validation.inputs, loaded.validation.inputs)


def test_other_numbers_of_labels_than_of_pictures(tmp_path, monkeypatch):
    written(tmp_path, monkeypatch, train=40, test=9, labels=(39, 9))
    with pytest.raises(DataError, match="train-labels.*: must hold 40 labels, one per picture, but has 39"):
        MNISTClass(validation=15).load(generator(), str(tmp_path))


@pytest.mark.data
def test_real_label_files_have_their_checksums_and_counts():
    assert verify(TRAIN_LABELS).name == "train-labels-idx1-ubyte.gz"
    assert verify(TEST_LABELS).name == "t10k-labels-idx1-ubyte.gz"
    counts = labels(read_file(TRAIN_LABELS)).bincount().tolist()
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
