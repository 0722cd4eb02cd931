"""The text format of USPS, and the real files where they are at hand."""

import gzip

import pytest
import torch

from hfbench.errors import DataError
from hfbench.parts import data_files
from hfbench.parts.data_files import read_file, verify
from hfbench.tasks.usps import TEST, TRAIN, USPS, parse


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def row(label, *values):
    return " ".join([f"{label:.4f}", *(f"{value:.4f}" for value in values), *["-1.0000"] * (256 - len(values))])


def test_parse_scales_and_reads_labels():
    text = f"{row(6, 1, 0, -0.5)} \n{row(0)} \n".encode()
    rows, labels = parse(text)
    assert rows.dtype == torch.float32
    assert rows.shape == (2, 256)
    assert rows[0, :4].tolist() == [1.0, 0.5, 0.25, 0.0]
    assert not rows[1].any()
    assert labels.tolist() == [6, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("1.0 0.5 0.5\n", "they have 3"),
        (f"{row(1)}\n1.0 0.5\n", "must hold rows of 257 numbers"),
        (row(1).replace("-1.0000", "grey"), "must hold rows of 257 numbers"),
        (row(1, 1.5), r"grey values in \[-1, 1\]"),
        (row(1, float("nan")), r"grey values in \[-1, 1\]"),
        (row(10), "labels 0 to 9"),
        (row(2.5), "labels 0 to 9"),
    ],
)
def test_text_that_is_something_else(text, message):
    with pytest.raises(DataError, match=f"usps/file: .*{message}"):
        parse(text.encode(), "usps/file")


def test_missing_files_name_what_to_supply(tmp_path, monkeypatch):
    def unreachable(*of):
        raise ConnectionError("no network")

    monkeypatch.setattr(data_files, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("HFBENCH_DATA", raising=False)
    monkeypatch.setattr(data_files, "_get", unreachable)
    with pytest.raises(DataError, match="(?s)hastie.su.domains.*: cannot connect\n.*<folder>/usps/zip.train.gz"):
        USPS().load(generator())


def test_other_contents_are_refused(tmp_path):
    path = TRAIN.below(tmp_path)
    path.parent.mkdir()
    path.write_bytes(gzip.compress(f"{row(1)}\n".encode()))
    with pytest.raises(DataError, match="zip.train.gz is damaged or is another file"):
        USPS().load(generator(), str(tmp_path))


@pytest.mark.data
def test_real_files_have_their_checksums():
    assert verify(TRAIN).name == "zip.train.gz"
    assert verify(TEST).name == "zip.test.gz"


@pytest.mark.data
def test_real_class_counts():
    _, labels = parse(read_file(TRAIN))
    assert labels.bincount().tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
    assert len(parse(read_file(TEST))[1]) == 2007


@pytest.mark.data
def test_real_task():
    first, again, other = (USPS().load(generator(seed)) for seed in (0, 0, 1))
    parts = (first.train, first.validation, first.test)
    assert [tuple(part.inputs.shape) for part in parts] == [(6500, 256), (791, 256), (2007, 256)]
    for part in parts:
        assert (part.inputs.min(), part.inputs.max()) == (0, 1)
    assert torch.equal(first.train.inputs, again.train.inputs)
    assert torch.equal(first.test.inputs, other.test.inputs)
    assert not torch.equal(first.validation.inputs, other.validation.inputs)
