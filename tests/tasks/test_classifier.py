"""Classification of MNIST and USPS: network, error rate, settings, and the real tasks where the files are."""

import numpy as np
import pytest
import torch
from torch import nn

from hfbench import registry
from hfbench.curvature.loss import mean_loss
from hfbench.errors import ConfigError
from hfbench.parts.hyperparameters import build_part
from hfbench.tasks.classifier import classifier_network, misclassified
from hfbench.tasks.mnist_class import MNISTClass
from hfbench.tasks.usps_class import USPSClass

TASKS = {"mnist-class": MNISTClass, "usps-class": USPSClass}
PARAMETERS = {"mnist-class": 84_060, "usps-class": 31_260}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- network and error


def test_network_is_logistic_with_a_linear_output():
    modules = list(classifier_network(9, (7, 5), generator()))
    assert [type(module) for module in modules] == [nn.Linear, nn.Sigmoid, nn.Linear, nn.Sigmoid, nn.Linear]
    assert [(module.in_features, module.out_features) for module in modules[::2]] == [(9, 7), (7, 5), (5, 10)]


@pytest.mark.parametrize("name", TASKS)
def test_models(name):
    model = TASKS[name]().model(generator())
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    x = torch.rand(3, model[0].in_features, generator=generator(1))
    targets = torch.tensor([0, 9, 4])
    assert model(x).shape == (3, 10)
    assert np.isfinite(mean_loss(model(x), targets, TASKS[name].loss))
    assert torch.equal(model(x), TASKS[name]().model(generator())(x))


def test_error_is_the_share_of_wrong_classes():
    outputs = torch.tensor([[0.0, 2.0, 1.0], [5.0, -1.0, 0.0], [0.0, 1.0, 3.0], [-9.0, -8.0, -7.0]])
    error = misclassified(outputs, torch.tensor([1, 0, 1, 2]))
    assert error.tolist() == [0, 0, 1, 0]
    assert error.dtype == torch.float32
    assert misclassified(outputs, outputs.argmax(1)).mean() == 0
    for task in TASKS.values():
        assert torch.equal(task().error(outputs, torch.tensor([1, 0, 1, 2])), error)


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize("name", TASKS)
def test_registered_under_their_names(name):
    assert registry.get("task", name) is TASKS[name]


@pytest.mark.parametrize("task", TASKS.values())
def test_settings(task):
    assert task.loss == "softmax"
    assert 0 < task().target < 0.2
    assert build_part(task, {"layers": [30]}) == task(layers=(30,))
    for settings, message in (
        ({"layers": []}, "layers: must be one or more positive whole numbers"),
        ({"layers": [10, 0]}, "layers: must be one or more positive whole numbers"),
        ({"target": 0.0}, "target: must lie in"),
        ({"channels": [3]}, "channels: unknown key"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_part(task, settings)


# ---------------------------------------------------------------- real data


@pytest.mark.data
@pytest.mark.parametrize(("task", "sizes"), [(MNISTClass, (55_000, 5000, 10_000)), (USPSClass, (6500, 791, 2007))])
def test_real_tasks(task, sizes):
    loaded = task().load(generator())
    parts = (loaded.train, loaded.validation, loaded.test)
    assert tuple(len(part) for part in parts) == sizes
    for part in parts:
        assert (part.inputs.min(), part.inputs.max()) == (0, 1)
        assert part.targets.unique().tolist() == list(range(10))
    error = task().error(task().model(generator())(loaded.test.inputs).detach(), loaded.test.targets).mean()
    assert 0.8 < error < 1
