"""Weights of a run: what the file holds, and that a file of somebody else costs its reader one sentence."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from support.misplaced_files import MISPLACED, soon
from support.tiny_study import attempt, specs, tiny
from torch import nn

from hfbench.config.run_spec import RunSpec
from hfbench.errors import StoreError
from hfbench.records.files import read_json
from hfbench.records.run_folder import RunFolder
from hfbench.records.validation import manifest_of, sound_record
from hfbench.records.weights import LARGEST_HEADER, WEIGHTS, check_fit, read_weights, weights_bytes

RUN = {"key": "0123456789abcdef", "task": "usps", "method": "hf", "seed": 3}
TENSORS = {"0.weight": torch.arange(6.0).reshape(2, 3), "0.bias": torch.ones(2, dtype=torch.float64)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunSpec, Path]:
    folder = tmp_path_factory.mktemp("weights")
    spec = specs(tiny(folder, "study.seeds=1", "study.precision=float64"))["hf", 0]
    assert attempt(spec, folder, keep_weights=True)["outcome"] == "reached"
    return spec, folder


@pytest.fixture
def folder(made: tuple[RunSpec, Path], tmp_path: Path) -> RunFolder:
    spec, results = made
    copy = RunFolder(tmp_path / "results", spec.key())
    copy.put(RunFolder(results, spec.key()).contents())
    return copy


def test_a_record_has_the_weights_by_the_names_of_the_model_in_their_precision(folder: RunFolder) -> None:
    with safe_open(folder.weights_path, "pt") as file:  # type: ignore[no-untyped-call]
        whose, names = json.loads(file.metadata()["run"]), set(file.keys())
    assert whose == {"key": folder.key, "task": "tiny-curves", "method": "hf", "seed": 0}
    tensors = folder.weights() or {}
    assert set(tensors) == names
    assert all(tensor.dtype is torch.float64 for tensor in tensors.values())
    assert WEIGHTS in (read_json(folder.path / "manifest.json") or {})["sha256"]
    assert folder.fault() == ""


def test_weights_are_the_same_file_every_time_and_no_part_of_the_key(
    made: tuple[RunSpec, Path], folder: RunFolder, tmp_path: Path
) -> None:
    spec, _ = made
    attempt(spec, tmp_path / "again", keep_weights=True)
    attempt(spec, tmp_path / "without")
    again, without = (RunFolder(tmp_path / name, spec.key()) for name in ("again", "without"))
    assert again.weights_path.read_bytes() == folder.weights_path.read_bytes()
    assert without.weights() is None
    assert without.is_complete()


def test_a_record_without_its_weights_is_whole(folder: RunFolder) -> None:
    folder.weights_path.unlink()
    assert folder.weights() is None
    assert folder.fault() == ""
    sound_record(folder.key, folder.contents().files)


def test_weights_do_not_outlive_their_run(made: tuple[RunSpec, Path], folder: RunFolder) -> None:
    folder.reopen()
    folder.finish([], folder.config() or {})
    assert folder.weights() is None


# ---------------------------------------------------------------- files of others


def header(entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


WHOSE = {"__metadata__": {"run": json.dumps(RUN)}}
HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "a few bytes": b"abc",
    "no header": struct.pack("<Q", 2**63),
    "a header beyond the file": struct.pack("<Q", 1000) + b"{}",
    "a header of megabytes": struct.pack("<Q", LARGEST_HEADER + 1) + b" " * (LARGEST_HEADER + 1),
    "no JSON": struct.pack("<Q", 4) + b"{{{{",
    "lists without end": header({"a": [[]]}).replace(b"[[]]", b"[" * 1000 + b"]" * 1000),
    "no metadata": header({"a": entry()}) + bytes(8),
    "metadata of another kind": header({"__metadata__": 7, "a": entry()}) + bytes(8),
    "another run": header({"__metadata__": {"run": json.dumps({**RUN, "seed": 4})}, "a": entry()}) + bytes(8),
    "whose in no JSON": header({"__metadata__": {"run": "\x1b[31m" * 500}, "a": entry()}) + bytes(8),
    "a tensor of terabytes": header({**WHOSE, "a": entry(shape=[2**40, 2**40], data_offsets=[0, 2**60])}) + bytes(8),
    "less than the shape": header({**WHOSE, "a": entry(shape=[10**9])}) + bytes(8),
    "offsets backwards": header({**WHOSE, "a": entry(data_offsets=[8, 0])}) + bytes(8),
    "two in one place": header({**WHOSE, "a": entry(), "b": entry()}) + bytes(8),
    "an unknown precision": header({**WHOSE, "a": entry(dtype="F31")}) + bytes(8),
    "more bytes than tensors": header({**WHOSE, "a": entry()}) + bytes(800),
}


@pytest.mark.parametrize("held", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_costs_one_sentence(held: bytes) -> None:
    with pytest.raises(StoreError) as said:
        read_weights(held, WEIGHTS, RUN)
    assert WEIGHTS in str(said.value)
    assert len(str(said.value)) < 1500
    assert str(said.value).isprintable()


def test_what_was_written_is_read() -> None:
    read = read_weights(weights_bytes(TENSORS, RUN), WEIGHTS, RUN)
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], tensor) and read[name].dtype is tensor.dtype for name, tensor in TENSORS.items())


def test_parameters_that_are_views_of_one_vector_are_written_each() -> None:
    flat = torch.arange(8.0)
    read = read_weights(weights_bytes({"a": flat[:4].view(2, 2).T, "b": flat[4:], "c": flat[4:]}, RUN), WEIGHTS, RUN)
    assert read["a"].tolist() == [[0, 2], [1, 3]]
    assert read["b"].tolist() == read["c"].tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"0.bias": torch.ones(3)}, r"'0.bias' must be float32 of shape \[2\], but is float32 of shape \[3\]"),
        ({"0.bias": torch.ones(2).double()}, r"'0.bias' must be float32 of shape \[2\], but is float64"),
        ({"0.bias": None}, r"'0.bias' must be float32 of shape \[2\], but is absent"),
        ({"more": torch.ones(1)}, r"'more' must be absent, but is float32 of shape \[1\]"),
    ],
)
def test_weights_of_another_model_are_refused(changed: dict[str, torch.Tensor | None], said: str) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    tensors = {name: t for name, t in {**model.state_dict(), **changed}.items() if t is not None}
    with pytest.raises(StoreError, match=said):
        check_fit(tensors, model, WEIGHTS)
    check_fit(model.state_dict(), model, WEIGHTS)


@pytest.mark.parametrize("misplace", MISPLACED.values(), ids=MISPLACED)
def test_only_a_regular_file_of_the_folder_is_read(folder: RunFolder, misplace: Callable[[Path], object]) -> None:
    folder.weights_path.unlink()
    misplace(folder.weights_path)
    with pytest.raises(StoreError, match=WEIGHTS):
        soon(folder.weights)
    with pytest.raises(StoreError, match=WEIGHTS):
        soon(folder.contents)


def test_weights_that_the_manifest_does_not_list_are_refused_where_they_are_read(folder: RunFolder) -> None:
    other = weights_bytes(TENSORS, {**RUN, "key": folder.key})
    folder.weights_path.write_bytes(other)
    assert folder.fault() == ""  # the numbers are those that were recorded
    with pytest.raises(StoreError, match="must have the sha256 that manifest.json lists"):
        folder.weights()
    files = dict(folder.contents().files)
    with pytest.raises(StoreError, match="must have the sha256 that manifest.json lists"):
        sound_record(folder.key, files)
    del files["manifest.json"]
    with pytest.raises(StoreError, match="manifest.json lists"):
        sound_record(folder.key, files)
    with pytest.raises(StoreError, match="must hold the weights of run"):
        sound_record(folder.key, {**files, "manifest.json": manifest_of(files)})


@pytest.mark.parametrize("config", [b"{}", b"[]", b'{"task": 7}'])
def test_a_damaged_configuration_is_said_when_weights_are_read(folder: RunFolder, config: bytes) -> None:
    (folder.path / "config.json").write_bytes(config)
    with pytest.raises(StoreError, match="config.json"):
        folder.weights()
