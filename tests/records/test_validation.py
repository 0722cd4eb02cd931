"""A record is believed if its files are those of its manifest, and fit the schema and each other."""

from __future__ import annotations

import io
import json
import math
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made_records import pictures, record, records, result_of, rows_of
from support.tiny_study import specs, tiny

from hfbench.config.run_spec import RunSpec
from hfbench.errors import StoreError
from hfbench.records.files import write_json
from hfbench.records.run_folder import RECORD, RunFolder
from hfbench.records.validation import (
    MANIFEST,
    checked_progress,
    manifest_of,
    read_examples,
    same_settings,
    sound_record,
)

BASELINE = """
[methods.adam]
optimizer = "adam"
scheduler = { use = "fixed", gradient = 0.5, curvature = 0.5 }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunSpec:
    return specs(tiny(tmp_path_factory.mktemp("study")))["hf", 0]


def files_of(folder: RunFolder) -> dict[str, bytes]:
    return {name: (folder.path / name).read_bytes() for name in RECORD if (folder.path / name).exists()}


def changed(folder: RunFolder, file: str, change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    """The files of the record, one of them changed as by an editor, the manifest made anew."""
    files = files_of(folder)
    values = json.loads(files[file])
    change(values)
    files = {**files, file: json.dumps(values).encode()}
    listed = {name: held for name, held in files.items() if name != MANIFEST}
    return {**files, MANIFEST: manifest_of(listed)}


def test_what_runs_write_is_a_record(tmp_path: Path) -> None:
    study = tiny(tmp_path, extra=BASELINE)
    for folder in records(study, tmp_path / "results").values():
        sound_record(folder.key, files_of(folder))
        assert folder.fault() == ""
        assert folder.is_complete()


def test_an_earlier_record_has_no_manifest_and_is_validated_by_the_schema(tmp_path: Path, run: RunSpec) -> None:
    files = files_of(record(run, tmp_path))
    del files[MANIFEST]
    sound_record(run.key(), files)
    with pytest.raises(StoreError, match="examples.npz must be a readable file of arrays"):
        sound_record(run.key(), {**files, "examples.npz": files["examples.npz"][:-40]})


@pytest.mark.parametrize("name", ["config.json", "trace.parquet", "examples.npz", "result.json"])
def test_a_file_that_is_not_what_was_written_is_named(tmp_path: Path, run: RunSpec, name: str) -> None:
    files = files_of(record(run, tmp_path))
    lost = {other: held for other, held in files.items() if other != name}
    with pytest.raises(StoreError, match=f"{name} must be there, since manifest.json lists it"):
        sound_record(run.key(), lost)
    with pytest.raises(StoreError, match=f"{name} must have the sha256 that manifest.json lists"):
        sound_record(run.key(), {**files, name: files[name] + b" "})


def test_the_record_of_another_run_is_refused(tmp_path: Path, run: RunSpec) -> None:
    own, other = record(run, tmp_path), record(specs(tiny(tmp_path))["hf", 1], tmp_path)
    with pytest.raises(StoreError, match="trace.parquet must have the sha256"):
        sound_record(own.key, {**files_of(own), "trace.parquet": files_of(other)["trace.parquet"]})
    planted = {**files_of(own), "trace.parquet": files_of(other)["trace.parquet"]}
    del planted[MANIFEST]
    with pytest.raises(StoreError, match="trace.parquet must end where result.json does"):
        sound_record(own.key, planted)
    with pytest.raises(StoreError, match=f"result.json: key must be '{own.key}', as of this run"):
        sound_record(own.key, files_of(other))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda result: result.update(work=-3.0), "work must be a number from 0, but is -3.0"),
        (lambda result: result.update(work=True), "work must be a number from 0, but is True"),
        (lambda result: result.update(seconds=10**400), "seconds must be a number from 0"),
        (lambda result: result.update(seconds=None), "seconds must be a number from 0, but is None"),
        (lambda result: result.update(seed=1), "seed must be 0, as of this run, but is 1"),
        (lambda result: result.update(seed="0"), "seed must be a whole number from 0, but is '0'"),
        (lambda result: result.update(task="<script>"), "task must be 'tiny-curves', .* but is '<script>'"),
        (lambda result: result.update(method="shf"), "method must be 'hf', as of this run"),
        (lambda result: result.update(key="0"), "key must be "),
        (lambda result: result.update(outcome="won"), "outcome must be one of reached, budget, diverged, failed"),
        (lambda result: result.update(outcome=["reached"]), "outcome must be one of"),
        (lambda result: result.update(outcome="budget"), "work_to_target of a run with outcome budget must not be"),
        (lambda result: result.update(work_to_target=None), "work_to_target of a run with outcome reached must not be"),
        (lambda result: result.update(work_to_target=1e9), "work_to_target must be at most work"),
        (lambda result: result.update(final_test_error=None), "final_test_error must be a number"),
        (lambda result: result.update(final_test_error=1.0), "trace.parquet must end where result.json does"),
        (lambda result: result.update(iterations=5.5), "iterations must be a whole number from 0"),
        (lambda result: result.update(peak_memory=-1), "peak_memory must be a number from 0 or null"),
        (lambda result: result.update(versions={"python": 3}), "versions must be a table of texts"),
        (lambda result: result.update(error=5), "error must be text of at most 10000 characters or null"),
        (lambda result: result.update(study="x" * 10_001), "study must be text of at most 10000 characters"),
        (lambda result: result.pop("work"), "work must be given, but is not"),
        (lambda result: result.update(outcome="failed", cause="weather", error="x"), "cause must be one of"),
        (lambda result: result.update(outcome="failed"), "error must be text of at most 10000 characters, but is None"),
    ],
)  # fmt: skip
def test_a_result_that_cannot_be_is_refused(
    tmp_path: Path, run: RunSpec, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        sound_record(run.key(), changed(record(run, tmp_path), "result.json", change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.pop("method"), "method must be given"),
        (lambda config: config.update(method="hf"), "method must be a table, but is 'hf'"),
        (lambda config: config["method"].update(name=None), "method: name must be text"),
        (lambda config: config["method"].update(name="/../../x/y"), "method: name must be text of at most 100 letters"),
        (lambda config: config.update(task="../x"), "task must be text of at most 100 letters, digits, '.', '_'"),
        (lambda config: config.update(task="a\0b"), "task must be text of at most 100 letters, digits, '.', '_'"),
        (lambda config: config["method"].update(max_inner="many"), "method: max_inner must be a whole number"),
        (lambda config: config["method"].update(preconditioner=None), "method: preconditioner must be a part"),
        (lambda config: config["method"].update(globalization={"min_damping": "x"}), "method: globalization must be"),
        (lambda config: config.update(budget={"passes": -1}), "budget must be a table of numbers above 0"),
        (lambda config: config.update(target=None), "target must be a number"),
        (lambda config: config.update(seed=-1), "seed must be a whole number from 0"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(
    tmp_path: Path, run: RunSpec, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(StoreError, match=message):
        sound_record(run.key(), changed(record(run, tmp_path), "config.json", change))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"sha256": 3}', '{"sha256": {}}', "[" * 100000, "NaN"])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, run: RunSpec, text: str) -> None:
    with pytest.raises(StoreError, match=r"manifest.json must"):
        sound_record(run.key(), {**files_of(record(run, tmp_path)), MANIFEST: text.encode()})


def test_a_failed_run_needs_no_trace(tmp_path: Path, run: RunSpec) -> None:
    folder = RunFolder(tmp_path, run.key())
    folder.create(run.config())
    whole = result_of(run, folder.key, rows_of(run), "tiny")
    identity = {name: whole[name] for name in ("key", "study", "task", "method", "seed", "threads", "versions")}
    folder.fail({**identity, "outcome": "failed", "cause": "machine", "error": "boom"}, "details")
    assert folder.fault() == ""
    assert (folder.sound_result() or {})["outcome"] == "failed"
    assert not folder.is_complete()


def test_pictures_have_one_shape(tmp_path: Path, run: RunSpec) -> None:
    folder = record(run, tmp_path)
    for wrong in ({"errors": None}, {"more": pictures()["errors"]}, {"reconstructions": pictures()["originals"][:1]}):
        shown = {name: array for name, array in {**pictures(), **wrong}.items() if array is not None}
        folder.finish(rows_of(run), result_of(run, folder.key, rows_of(run), "tiny"), shown)
        (folder.path / MANIFEST).unlink()
        assert "must hold pictures, their reconstructions and errors" in folder.fault()


def test_settings_that_were_added_later_are_as_they_were(run: RunSpec) -> None:
    config = run.config()
    method = {name: value for name, value in config["method"].items() if name not in ("precision", "max_bytes")}
    assert same_settings({**config, "method": method}, config)
    assert not same_settings({**config, "method": 5}, config)
    assert not same_settings(None, config)


def test_a_report_of_progress_is_complete_or_none() -> None:
    told = checked_progress({"iteration": 3, "error": None}, "k") or {}
    assert math.isnan(told["error"])
    assert math.isnan(told["target"])
    assert told["target_on"] == "test"
    assert (checked_progress({"iteration": 0}, "k") or {})["name"] == "k"
    for wrong in ({}, {"iteration": "3"}, {"iteration": 3, "spent": "half"}, {"iteration": 3, "error": [1]},
                  {"iteration": 3, "target_on": "training"}):  # fmt: skip
        assert checked_progress(wrong, "k") is None


def test_a_changed_file_is_read_again_and_a_known_one_is_not(
    tmp_path: Path, run: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = record(run, tmp_path)
    for name in RECORD:  # as if written a while ago
        if (folder.path / name).exists():
            shutil.copystat(Path(__file__), folder.path / name)
    assert folder.fault() == ""
    with monkeypatch.context() as patch:
        patch.setattr("hfbench.records.run_folder.sound_record", lambda *of: pytest.fail("read again"))
        assert folder.fault() == ""
    write_json(folder.path / "result.json", {**(folder.result() or {}), "work": -1.0})
    assert "result.json must have the sha256" in folder.fault()


def test_a_zip_file_of_something_else_holds_no_pictures() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in ("originals", "reconstructions", "errors"):
            archive.writestr(f"{name}.npy", b"no array")
    with pytest.raises(StoreError, match=r"examples.npz must be a readable file of arrays, but"):
        read_examples(sink.getvalue(), "examples.npz")


FIELD = {
    "solution": np.zeros((3, 4), np.float32), "prediction": np.ones((3, 4), np.float32), "axes": np.array(["x", "t"]),
    "extent": np.zeros(4, np.float32),
}  # fmt: skip


def saved(arrays: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    np.savez_compressed(sink, **arrays)
    return sink.getvalue()


def test_a_field_is_read_as_it_was_written() -> None:
    found = read_examples(saved(FIELD), "examples.npz")
    assert found.keys() == FIELD.keys()
    assert all(np.array_equal(found[name], values) for name, values in FIELD.items())


@pytest.mark.parametrize(
    "wrong",
    [
        {"prediction": np.ones((4, 3), np.float32)},
        {"axes": np.array(["x"])},
        {"axes": np.zeros(2, np.float32)},
        {"extent": np.zeros(4, np.int64)},
        {"solution": np.zeros(3, np.float32), "prediction": np.zeros(3, np.float32)},
        {"errors": np.zeros(1, np.float32)},
    ],
)
def test_a_field_of_other_shapes_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(StoreError, match="must hold pictures, their reconstructions and errors, or a field, but does"):
        read_examples(saved({**FIELD, **wrong}), "examples.npz")


def test_pictures_that_expand_are_refused_with_their_size() -> None:
    import numpy as np

    sink = io.BytesIO()
    np.savez_compressed(sink, originals=np.zeros(2**27, np.uint8))
    assert len(sink.getvalue()) < 200_000
    with pytest.raises(StoreError, match=r"readable file of arrays, but: it expands to 128 MiB, more than the 64 MiB"):
        read_examples(sink.getvalue(), "examples.npz")
