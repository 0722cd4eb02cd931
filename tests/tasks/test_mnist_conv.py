"""The convolutional autoencoder: shapes, initial weights, and the real task where the files are at hand."""

import pytest
import torch
from support.mnist_files import written
from torch import nn

from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.parts.hyperparameters import build_part
from hfbench.parts.shown_outputs import HasPictures
from hfbench.tasks.mnist_conv import MNISTConv, convolutional_network


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- network


def test_shapes_through_the_default_network():
    shapes, x = [], torch.zeros(2, 784)
    for layer in MNISTConv().model(generator()):
        x = layer(x)
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            shapes.append(tuple(x.shape[1:]))
    assert shapes == [(8, 14, 14), (16, 7, 7), (24,), (784,), (8, 14, 14), (1, 28, 28)]
    assert x.shape == (2, 784)


def test_code_and_output_are_linear():
    kinds = [type(layer) for layer in convolutional_network((2, 3), 4, generator())]
    code = kinds.index(nn.Linear)
    assert kinds[code : code + 2] == [nn.Linear, nn.Linear]
    assert kinds[-2:] == [nn.ConvTranspose2d, nn.Flatten]
    assert kinds.count(nn.Tanh) == 4


def test_one_convolution():
    assert convolutional_network((3,), 2, generator())(torch.zeros(5, 784)).shape == (5, 784)


def test_size():
    assert sum(parameter.numel() for parameter in MNISTConv().model(generator()).parameters()) == 42_825


def connections(layer, before, after):
    """Of one unit inside the picture: how many units it hears, and how many hear it, counted by unit weights."""
    plain = type(layer)(
        layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, bias=False
    )
    nn.init.ones_(plain.weight)
    x = torch.ones(1, layer.in_channels, before, before, requires_grad=True)
    y = plain(x)
    heard_by = torch.autograd.grad(y.sum(), x)[0]
    return y[0, 0, after // 2, after // 2].item(), heard_by[0, 0, before // 2, before // 2].item()


def test_initial_weights_have_the_normalised_variance():
    model = convolutional_network((40, 50), 300, generator())
    sides = [(28, 14), (14, 7), None, None, (7, 14), (14, 28)]
    layers = [layer for layer in model if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    for layer, side in zip(layers, sides, strict=True):
        fans = connections(layer, *side) if side else (layer.in_features, layer.out_features)
        drawn = layer.weight.detach().flatten()
        assert drawn.var().item() == pytest.approx(2 / sum(fans), rel=5 * (2 / len(drawn)) ** 0.5)
        assert abs(drawn.mean()) < 4 * (2 / sum(fans) / len(drawn)) ** 0.5
        assert not layer.bias.any()


def test_no_unit_saturates_at_first():
    x = torch.rand(50, 784, generator=generator(1))
    for layer in MNISTConv().model(generator()):
        x = layer(x)
        if isinstance(layer, nn.Tanh):
            assert (x.abs() > 0.95).float().mean() < 0.01
            assert x.std() > 0.05


def test_weights_come_from_the_generator_alone():
    before = torch.get_rng_state()
    first, again, other = (MNISTConv().model(generator(seed)).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["1.weight"], other["1.weight"])


# ---------------------------------------------------------------- task


def test_registered_under_its_name():
    assert registry.get("task", "mnist-conv") is MNISTConv


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": []}, "channels: must be one or more positive whole numbers"),
        ({"channels": [8, 0]}, "channels: must be one or more positive whole numbers"),
        ({"channels": [4, 8, 16]}, "channels: must be one or two, for 28 can be halved twice"),
        ({"code": 0}, "code: must lie in"),
        ({"layers": [10]}, "layers: unknown key"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        build_part(MNISTConv, settings)


def test_settings_from_a_file():
    assert build_part(MNISTConv, {"channels": [4, 8], "code": 10}) == MNISTConv(channels=(4, 8), code=10)


def test_error_and_pictures():
    task = MNISTConv()
    z = torch.full((2, 784), 200.0)
    t = torch.cat([torch.ones(1, 784), torch.zeros(1, 784)])
    assert task.error(z, t).tolist() == [0, 784]
    assert isinstance(task, HasPictures)
    assert [tuple(shown.shape) for shown in task.pictures(z, t)] == [(2, 28, 28), (2, 28, 28)]


def test_small_files(tmp_path, monkeypatch):
    written(tmp_path, monkeypatch, train=30, test=7)
    loaded = MNISTConv(validation=10, cases=20).load(generator(), str(tmp_path))
    parts = (loaded.train, loaded.validation, loaded.test)
    assert [tuple(part.inputs.shape) for part in parts] == [(20, 784), (10, 784), (7, 784)]
    assert len(torch.unique(torch.cat([loaded.train.inputs, loaded.validation.inputs]), dim=0)) == 30


@pytest.mark.data
def test_real_task():
    task = MNISTConv(cases=200)
    loaded = task.load(generator())
    assert [len(part) for part in (loaded.train, loaded.validation, loaded.test)] == [200, 1000, 10_000]
    z = task.model(generator())(loaded.test.inputs[:500]).detach()
    # a grey picture, sigmoid(0) everywhere, is 181 from these digits
    assert 100 < task.error(z, loaded.test.targets[:500]).mean() < 250
