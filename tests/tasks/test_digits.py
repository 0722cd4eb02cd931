"""The digits that scikit-learn brings, as autoencoder and classifier."""

import numpy as np
import pytest
import sklearn.datasets
import torch

from hfbench.errors import DataError
from hfbench.tasks.digits import Digits
from hfbench.tasks.digits_class import DigitsClass
from hfbench.tasks.digits_data import optical_digits


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_pictures_are_those_of_scikit_learn():
    pictures, labels = optical_digits()
    known = sklearn.datasets.load_digits()
    np.testing.assert_allclose(pictures.reshape(-1, 8, 8).numpy(), known.images / 16)
    assert labels.tolist() == known.target.tolist()
    assert pictures.dtype == torch.float32
    assert (float(pictures.min()), float(pictures.max())) == (0.0, 1.0)


def test_other_pictures_are_refused(monkeypatch):
    def changed(return_X_y):
        values, labels = known()
        values[0, 5] += 1
        return values, labels

    def known():
        return np.zeros((1797, 64)), np.zeros(1797, int)

    monkeypatch.setattr(sklearn.datasets, "load_digits", changed)
    with pytest.raises(DataError, match="digits: scikit-learn's load_digits must give the known pictures, but their"):
        optical_digits()


def test_the_test_cases_are_the_last_ones_and_others_are_drawn():
    pictures, labels = optical_digits()
    data, classes = (task().load(generator(3)) for task in (Digits, DigitsClass))
    for loaded, targets in ((data, pictures), (classes, labels)):
        assert [len(part) for part in (loaded.train, loaded.validation, loaded.test)] == [1200, 237, 360]
        assert torch.equal(loaded.test.inputs, pictures[-360:])
        assert torch.equal(loaded.test.targets, targets[-360:])
    assert torch.equal(data.train.inputs, classes.train.inputs)
    assert not torch.equal(data.train.inputs, Digits().load(generator(4)).train.inputs)


def test_pictures_have_eight_rows():
    z = torch.zeros(2, 64)
    assert [tuple(shown.shape) for shown in Digits().pictures(z, z)] == [(2, 8, 8), (2, 8, 8)]


def test_the_mean_picture_has_the_error_that_the_page_states():
    data = Digits().load(generator())
    error = (data.test.targets - data.train.targets.mean(0)).square().sum(1).mean()
    assert float(error) == pytest.approx(4.7, abs=0.1)
