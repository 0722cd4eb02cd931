"""Sparse dense layers, and the split that all tasks share."""

import pytest
import torch

from hfbench.errors import ConfigError
from hfbench.parts.protocols import Split
from hfbench.tasks.common import sparse_linear, sparse_normal, split, whole_numbers


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- sparse layers


@pytest.mark.parametrize(("fan_in", "kept"), [(256, 15), (16, 15), (15, 15), (6, 6), (1, 1)])
def test_sparse_initialisation(fan_in, kept):
    layer = sparse_linear(fan_in, 400, generator())
    assert layer.weight.shape == (400, fan_in)
    assert layer.weight.dtype == torch.float32
    assert (layer.weight != 0).sum(1).tolist() == [kept] * 400
    assert not layer.bias.any()
    drawn = layer.weight.detach()[layer.weight != 0]
    assert abs(drawn.mean()) < 4 / len(drawn) ** 0.5
    assert abs(drawn.var() - 1) < 4 * (2 / len(drawn)) ** 0.5


def test_sparse_initialisation_uses_every_input_alike():
    counts = (sparse_normal(4000, 60, generator()) != 0).sum(0)
    assert abs(counts - 1000).max() < 5 * (4000 * 0.25 * 0.75) ** 0.5


# ---------------------------------------------------------------- split

POOL = Split(torch.arange(40.0).reshape(20, 2), torch.arange(20))
TEST = Split(-torch.ones(3, 2), torch.zeros(3, dtype=torch.long))


def test_split_is_disjoint_and_complete_and_keeps_cases_whole():
    parts = split(POOL, TEST, 6, None, generator())
    assert (len(parts.train), len(parts.validation)) == (14, 6)
    assert parts.test is TEST
    together = torch.cat([parts.train.targets, parts.validation.targets])
    assert sorted(together.tolist()) == list(range(20))
    for part in (parts.train, parts.validation):
        assert torch.equal(part.inputs, POOL.inputs[part.targets])


def test_split_follows_the_generator():
    first, second, other = (split(POOL, TEST, 6, None, generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(first.train.inputs, second.train.inputs)
    assert torch.equal(first.validation.inputs, second.validation.inputs)
    assert not torch.equal(first.validation.inputs, other.validation.inputs)


def test_fewer_cases_are_a_subset_with_the_same_validation():
    few, more = (split(POOL, TEST, 6, cases, generator()) for cases in (4, 9))
    assert torch.equal(few.train.targets, more.train.targets[:4])
    assert torch.equal(few.validation.inputs, more.validation.inputs)


def test_split_of_too_many():
    with pytest.raises(ConfigError, match="validation: must be less than the 20 cases there are, but got 20"):
        split(POOL, TEST, 20, None, generator())
    with pytest.raises(ConfigError, match=r"cases: must be at most 14, .* but got 15"):
        split(POOL, TEST, 6, 15, generator())
    assert len(split(POOL, TEST, 6, 14, generator()).train) == 14


# ---------------------------------------------------------------- settings


def test_whole_numbers_name_the_setting():
    assert whole_numbers("maps", [3, 4]) == (3, 4)
    with pytest.raises(ConfigError, match=r"maps: must be one or more positive whole numbers, but got \[0\]"):
        whole_numbers("maps", [0])
