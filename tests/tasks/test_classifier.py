"""Classification of MNIST and USPS: files with labels, network, error rate, and the real tasks where the files are."""

import gzip
import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.mnist_files import idx, written
from torch import nn

from hfbench import registry
from hfbench.curvature.loss import mean_loss
from hfbench.errors import ConfigError, DataError
from hfbench.parts.data_files import read, verify
from hfbench.parts.hyperparameters import build
from hfbench.tasks.classifier import misclassified, network
from hfbench.tasks.mnist_class import TEST_LABELS, TRAIN_LABELS, MNISTClass, labels
from hfbench.tasks.usps_class import USPSClass

TASKS = {"mnist-class": MNISTClass, "usps-class": USPSClass}
PARAMETERS = {"mnist-class": 84_060, "usps-class": 31_260}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- network and error


def test_network_is_logistic_with_a_linear_output():
    modules = list(network(9, (7, 5), generator()))
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
    assert build(task, {"layers": [30]}) == task(layers=(30,))
    for settings, message in (
        ({"layers": []}, "layers: must be one or more positive whole numbers"),
        ({"layers": [10, 0]}, "layers: must be one or more positive whole numbers"),
        ({"target": 0.0}, "target: must lie in"),
        ({"channels": [3]}, "channels: unknown key"),
    ):
        with pytest.raises(ConfigError, match=message):
            build(task, settings)


# ---------------------------------------------------------------- files


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


def test_small_usps_files(tmp_path, monkeypatch):
    files = []
    for file, cases in zip(USPSClass.files, (30, 8), strict=True):
        rows = (f"{case % 10} {0.01 * case - 1:.4f} {'-1 ' * 255}" for case in range(cases))
        text = "\n".join(rows).encode()
        files.append(replace(file, sha256=hashlib.sha256(text).hexdigest(), urls=()))
        file.below(tmp_path).parent.mkdir(exist_ok=True)
        file.below(tmp_path).write_bytes(gzip.compress(text))
    monkeypatch.setattr(USPSClass, "files", tuple(files))
    loaded = USPSClass(validation=10).load(generator(), str(tmp_path))
    assert [tuple(part.inputs.shape) for part in (loaded.train, loaded.validation, loaded.test)] == [
        (20, 256),
        (10, 256),
        (8, 256),
    ]
    for part in (loaded.train, loaded.validation, loaded.test):
        assert torch.equal((200 * part.inputs[:, 0]).round().long() % 10, part.targets)


# ---------------------------------------------------------------- real data


@pytest.mark.data
def test_real_label_files_have_their_checksums_and_counts():
    assert verify(TRAIN_LABELS).name == "train-labels-idx1-ubyte.gz"
    assert verify(TEST_LABELS).name == "t10k-labels-idx1-ubyte.gz"
    counts = labels(read(TRAIN_LABELS)).bincount().tolist()
    assert counts == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


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
