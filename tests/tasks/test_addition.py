"""The sequences of the addition problem, pinned to the bit, and its recurrent net."""

import hashlib

import numpy as np
import pytest
import torch

from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.parts.hyperparameters import build_part
from hfbench.tasks.addition import POOL, TEST, Addition, Recurrent, marks, sequences


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- sequences


def test_sequences_are_pinned():
    inputs, sums = sequences(Addition().length, POOL + TEST)
    found = hashlib.sha256(inputs.tobytes() + sums.tobytes()).hexdigest()
    assert found == "98b135296e56124831e1767b93b168dff5f193d0e4123ba3f3981acebe357eb5"


@pytest.mark.parametrize("length", [10, 50, 57])
def test_two_marks_and_their_sum(length):
    inputs, sums = sequences(length, 3000)
    assert inputs.shape == (3000, length, 2)
    assert sums.shape == (3000, 1)
    assert inputs.dtype == sums.dtype == np.float32
    numbers, markers = inputs[:, :, 0], inputs[:, :, 1]
    assert numbers.min() >= 0
    assert numbers.max() <= 1
    assert set(np.unique(markers)) == {0, 1}
    assert (markers[:, : length // 10].sum(1) == 1).all()
    assert (markers[:, length // 10 : length // 2].sum(1) == 1).all()
    assert not markers[:, length // 2 :].any()
    np.testing.assert_array_equal(sums[:, 0], (numbers * markers).sum(1))


def test_marks_are_uniform_over_their_ranges():
    evenly = (np.arange(40) + 0.5) / 40
    first, second = marks(np.stack([evenly, evenly], axis=1), 50).T
    assert np.bincount(first, minlength=5).tolist() == [8] * 5
    assert np.bincount(second, minlength=25).tolist() == [0] * 5 + [2] * 20


def test_to_answer_the_mean_has_one_sixth():
    sums = sequences(50, POOL + TEST)[1]
    error = Addition().error(torch.ones(sums.shape), torch.tensor(sums))
    assert error.shape == (POOL + TEST,)
    assert error.mean().item() == pytest.approx(1 / 6, rel=0.02)


# ---------------------------------------------------------------- task


def test_registered_under_its_name():
    assert registry.get("task", "addition") is Addition


def test_task():
    task = Addition(length=10, cases=50, validation=20)
    first, again, other = (task.load(generator(seed)) for seed in (0, 0, 1))
    parts = (first.train, first.validation, first.test)
    assert [tuple(part.inputs.shape) for part in parts] == [(50, 10, 2), (20, 10, 2), (TEST, 10, 2)]
    assert [tuple(part.targets.shape) for part in parts] == [(50, 1), (20, 1), (TEST, 1)]
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.test.inputs, other.test.inputs)
    assert not torch.equal(first.train.inputs, other.train.inputs)
    assert len(torch.unique(torch.cat([part.inputs.flatten(1) for part in parts]), dim=0)) == 70 + TEST


def test_remembered_sequences_cannot_be_changed():
    Addition(length=10).load(generator()).test.inputs.zero_()
    assert Addition(length=10).load(generator()).test.inputs.any()
    with pytest.raises(ValueError, match="read-only"):
        sequences(10, POOL + TEST)[0][0, 0, 0] = 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 9}, "length: must lie in"),
        ({"units": 0}, "units: must lie in"),
        ({"cases": 0}, "cases: must lie in"),
        ({"target": 0}, "target: must lie in"),
        ({"layers": [3]}, "layers: unknown key"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_part(Addition, settings)


def test_more_cases_than_there_are():
    with pytest.raises(ConfigError, match="cases: must be at most 11500, .* but got 11501"):
        Addition(length=10, cases=11_501).load(generator())


# ---------------------------------------------------------------- network


def test_recurrence_is_the_formula():
    model = Recurrent(7, generator()).double()
    x = torch.rand(3, 5, 2, generator=generator(1), dtype=torch.float64)
    W_hx, W_hh, W_yh, h_0, b_h, b_y = (p.detach().numpy() for p in model.parameters())
    for case, z in zip(x.numpy(), model(x).detach().numpy(), strict=True):
        h = h_0
        for step in case:
            h = np.tanh(W_hx @ step + W_hh @ h + b_h)
        np.testing.assert_allclose(z, W_yh @ h + b_y, rtol=1e-12)


def test_initial_weights():
    model = Addition(units=400).model(generator())
    assert (model.W_hh != 0).sum(1).tolist() == [15] * 400
    assert (model.W_yh != 0).sum().item() == 15
    for block, deviation in ((model.W_hh, 15**-0.5), (model.W_hx, 240**-0.5), (model.h_0, 15**-0.5)):
        drawn = block.detach()[block != 0]
        assert drawn.std().item() == pytest.approx(deviation, rel=5 / (2 * len(drawn)) ** 0.5)
    assert not model.b_h.any()
    assert not model.b_y.any()


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    first, again, other = (Addition().model(generator(seed)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["W_hh"], other["W_hh"])


def test_the_state_neither_dies_nor_saturates_at_first():
    task = Addition(length=50)
    model, x = task.model(generator()), task.load(generator()).test.inputs[:200]
    state = model.h_0.expand(200, -1)
    for step in x.unbind(1):
        state = torch.tanh(step @ model.W_hx.T + state @ model.W_hh.T + model.b_h)
    assert 0.02 < state.abs().mean() < 0.7
