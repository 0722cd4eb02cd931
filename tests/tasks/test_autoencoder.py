"""The pieces that the autoencoder tasks are composed of."""

import pytest
import torch
from torch import nn

from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.parts.hyperparameters import build_part
from hfbench.tasks.autoencoder import network, split_pictures, squared_error
from hfbench.tasks.curves import Curves, CurvesSmall
from hfbench.tasks.mnist import MNIST
from hfbench.tasks.usps import USPS

TASKS = {"curves": Curves, "curves-small": CurvesSmall, "mnist": MNIST, "usps": USPS}
PARAMETERS = {"curves": 842_340, "curves-small": 33_782, "mnist": 2_837_314, "usps": 419_081}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- network


def test_network_is_mirrored_with_linear_code_and_output():
    modules = list(network(9, (7, 5, 2), generator()))
    kinds = "".join("L" if isinstance(module, nn.Linear) else "S" for module in modules)
    assert kinds == "LSLSLLSLSL"
    sizes = [(module.in_features, module.out_features) for module in modules if isinstance(module, nn.Linear)]
    assert sizes == [(9, 7), (7, 5), (5, 2), (2, 5), (5, 7), (7, 9)]


def test_network_of_one_layer():
    modules = list(network(4, (2,), generator()))
    assert [type(module) for module in modules] == [nn.Linear, nn.Linear]


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    first, second, other = (network(20, (8, 3), generator(seed)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["0.weight"], other["0.weight"])


@pytest.mark.parametrize("name", TASKS)
def test_models(name):
    task = TASKS[name]()
    model = task.model(generator())
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    pixels = model[0].in_features
    assert model(torch.zeros(2, pixels)).shape == (2, pixels)
    assert model[-1].out_features == pixels


# ---------------------------------------------------------------- error


def test_error_is_summed_over_pixels():
    outputs = torch.tensor([[0.0, 0.0, 0.0], [200.0, -200.0, 0.0]], dtype=torch.float64)
    targets = torch.tensor([[1.0, 0.0, 0.5], [1.0, 1.0, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(squared_error(outputs, targets), torch.tensor([0.5, 1.0], dtype=torch.float64))


@pytest.mark.parametrize("task", TASKS.values())
def test_tasks_measure_that_error(task):
    outputs, targets = torch.randn(5, 4, generator=generator()), torch.rand(5, 4, generator=generator(1))
    assert torch.equal(task().error(outputs, targets), squared_error(outputs, targets))


# ---------------------------------------------------------------- split


def test_every_picture_is_its_own_target():
    parts = split_pictures(torch.arange(40.0).reshape(20, 2), -torch.ones(3, 2), 6, 9, generator())
    assert (len(parts.train), len(parts.validation), len(parts.test)) == (9, 6, 3)
    for part in (parts.train, parts.validation, parts.test):
        assert part.targets is part.inputs  # one tensor, not a copy
    together = torch.cat([parts.train.inputs, parts.validation.inputs])
    assert len(torch.unique(together, dim=0)) == 15


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("name", TASKS)
def test_registered_under_their_names(name):
    assert registry.get("task", name) is TASKS[name]


@pytest.mark.parametrize("task", TASKS.values())
def test_defaults(task):
    built = build_part(task, {})
    assert (built.loss, built.decay, built.decay_mask, built.cases) == ("logistic", 1e-5, "weights", None)
    assert set(task.budget) == {"passes"}


def test_layers_from_a_list():
    assert build_part(USPS, {"layers": [30, 5]}) == USPS(layers=(30, 5))
    assert [module.out_features for module in USPS(layers=[30, 5]).model(generator())[::3]] == [30, 30]


@pytest.mark.parametrize("layers", [[], [0], [10, -1], [2.5], ["10"], [True], "10"])
def test_layers_that_are_none(layers):
    with pytest.raises(ConfigError, match="layers: must be"):
        USPS(layers=layers)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": -1e-5}, "decay: must lie in"),
        ({"decay_mask": "weight"}, "did you mean 'weights'"),
        ({"target": 0}, "target: must lie in"),
        ({"validation": 0}, "validation: must lie in"),
        ({"cases": 0}, "cases: must lie in"),
        ({"layers": 5}, "layers: must be"),
        ({"sizes": [5]}, "sizes: unknown key"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_part(MNIST, settings)
