"""Run folders: `<results>/runs/<key>/` with config.json, trace.parquet, manifest.json and result.json.

Each file is written atomically, and result.json last, so that its presence means that the run has ended. The manifest
lists the sha256 of every file of the record, of the result too: a record is what its manifest says, or it is set aside.
Weights stand apart: they are large, so that they are checked when they are read, and a record without them is whole.
Only regular files of a bounded size that lie in the results folder are read. Reading a file cannot execute code: the
formats are JSON, Parquet, and tensors loaded with `weights_only`.
"""

from __future__ import annotations

import io
import math
import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.errors import StoreError
from hfbench.messages import printable
from hfbench.records import trace
from hfbench.records.files import (
    LARGEST_JSON,
    check_folder,
    decoding,
    file_bytes,
    json_bytes,
    json_object,
    make_folder,
    safe_name,
    write_bytes,
    write_json,
)
from hfbench.records.sealed import unseal, write_sealed
from hfbench.records.tensors import load_tensors
from hfbench.records.trace_file import read_trace, stopped_early, trace_bytes
from hfbench.records.validation import (
    ANOTHER,
    MANIFEST,
    check_config,
    check_listed,
    checked_progress,
    manifest_of,
    read_examples,
    same_settings,
    sound_record,
)
from hfbench.records.validation import COMPLETE as COMPLETE
from hfbench.records.weights import WEIGHTS, identity_of, read_weights
from hfbench.regular_files import MB, is_inside

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa
    from torch import Tensor

RECORD = ("config.json", "trace.parquet", "examples.npz", "error.txt", MANIFEST, "result.json")  # in order of writing
FILES = ("checkpoint.pt", WEIGHTS, *RECORD)  # of a run
LARGEST_FILES = {  # bytes
    "trace.parquet": 256 * MB,  # some two million rows
    "examples.npz": 64 * MB,
    "error.txt": MB,  # of a longer text the beginning is kept
    WEIGHTS: 8192 * MB,
    "checkpoint.pt": 8192 * MB,  # a run that needs more begins again after an interruption
}
SET_ASIDE = "set-aside"  # in the results folder
RECENT = 0.1  # seconds since a file was written, within which a file system may give two writes the same time


@dataclass(frozen=True)
class Checked:
    """What a check of a run's record found. A record has either a fault or a result; a run that goes on has neither."""

    fault: str = ""  # why the record cannot be used
    result: Mapping[str, Any] | None = None
    stopped_early: float = math.nan  # of its trace


_checks: dict[Path, tuple[object, Checked]] = {}  # by folder, with the state of its files: read once per process


@dataclass(frozen=True)
class Contents:
    """The files of a run's folder, to be copied elsewhere."""

    files: Mapping[str, bytes]
    ended: float | None  # seconds of the system's clock; None for a run that has not


class RunFolder:
    """The record of one run, and its checkpoint: while it runs, and after it if its budget ended it."""

    def __init__(self, results: Path, key: str) -> None:
        self.key = key
        self.results = Path(results).absolute()
        self.path = self.results / "runs" / safe_name(key)
        self.trace_path = self.path / "trace.parquet"
        self._checkpoint = self.path / "checkpoint.pt"
        self._progress = self.path / "progress.json"
        self._examples = self.path / "examples.npz"
        self.weights_path = self.path / WEIGHTS
        self._magic = f"hfbench checkpoint 1 of {key}\n".encode()  # the checkpoint of another run is none

    def beside(self, key: str) -> RunFolder:
        """The folder of another run in the same results folder."""
        return RunFolder(self.results, key)

    def read(self, name: str, folder_is_inside: bool = False) -> bytes | None:
        """The bytes of a file of the folder, or None if there is none.

        Raises StoreError for a link out of the results folder, for what is no regular file, and for one that is larger
        than `LARGEST_FILES`, as JSON than `LARGEST_JSON`. The folder itself may be known to be inside (`file_bytes`).
        """
        return file_bytes(self.path / name, LARGEST_FILES.get(name, LARGEST_JSON), self.results, folder_is_inside)

    def _json(self, name: str) -> dict[str, Any] | None:
        held = self.read(name)
        return None if held is None else json_object(held, self.path / name)

    # ------------------------------------------------------------ the record of a run that has ended

    def config(self) -> dict[str, Any] | None:
        """The configuration, or None if there is none. Raises StoreError if the file holds no JSON object."""
        return self._json("config.json")

    def result(self) -> dict[str, Any] | None:
        """The result, or None if the run has not ended. Raises StoreError if the file holds no JSON object."""
        return self._json("result.json")

    def trace(self, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The trace of a run that has ended, or None if there is none. Raises StoreError if it cannot be read."""
        held = self.read("trace.parquet")
        return None if held is None else read_trace(held, str(self.trace_path), columns)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the trace. Raises StoreError if it cannot be read, or there is none."""
        table = self.trace()
        if table is None:
            raise StoreError(f"{self.trace_path} must be there, but is not.")
        return list(table.to_pylist())

    def has_examples(self) -> bool:
        return self._examples.is_file()

    def examples(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Pictures of some test cases and their reconstructions, as passed to `finish`."""
        held = self.read("examples.npz")
        return None if held is None else read_examples(held, str(self._examples))

    def has_weights(self) -> bool:
        return self.weights_path.is_file()

    def weights(self) -> dict[str, Tensor] | None:
        """The weights at the end of the run by their names in the model, or None if they were not kept.

        Raises StoreError if they cannot be read, or are not those that the manifest lists.
        """
        files = self._held(["config.json", MANIFEST, WEIGHTS])
        if WEIGHTS not in files:
            return None
        check_listed(WEIGHTS, files)
        config = json_object(files.get("config.json", b"{}"), self.path / "config.json")
        check_config(config, str(self.path / "config.json"))
        return read_weights(files[WEIGHTS], str(self.weights_path), identity_of(self.key, config))

    def checked(self, planned: Mapping[str, Any] | None = None) -> Checked:
        """The record of an ended run: what it holds, or the reason why it cannot be used.

        The files must be those of the manifest, fit the schema and each other, and hold the planned configuration if
        one is given.
        """
        try:
            self._check_place()
            state = self._state()
            if "result.json" not in state:
                return Checked()
            known_state, found = _checks.get(self.path, (None, Checked()))
            config = None
            if known_state != state:
                found, config = self._check()
                if state != self._state():  # another process was writing
                    return self.checked(planned)
                if time.time() - max(state.values())[0] > RECENT:
                    _checks[self.path] = state, found
            if found.fault or planned is None or same_settings(config or self.config(), planned):
                return found
        except StoreError as error:
            return Checked(str(error))
        return Checked(f"runs/{self.key}: {ANOTHER}")

    def fault(self, planned: Mapping[str, Any] | None = None) -> str:
        """Reason why the record of an ended run cannot be used; empty if it can, or if the run has not ended."""
        return self.checked(planned).fault

    def sound_result(self, planned: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The result if the run has ended and `checked` finds no fault, else None."""
        result = self.checked(planned).result
        return None if result is None else dict(result)

    def is_complete(self, planned: Mapping[str, Any] | None = None) -> bool:
        """True if the run has ended with an outcome that is final, and `checked` finds no fault."""
        return (self.sound_result(planned) or {}).get("outcome") in COMPLETE

    def set_aside(self) -> Path:
        """Moves the folder below `<results>/set-aside/`, so that the run can be made again; the path it has then."""
        check_folder(self.path.parent, self.results)
        away, n = make_folder(self.results / SET_ASIDE, self.results), 1
        while (target := away / f"{self.key}-{n}").exists():
            n += 1
        try:
            os.rename(self.path, target)
        except OSError as error:
            raise StoreError(f"{self.path} must be movable to {target}, but: {error.strerror or error}.") from error
        return target

    def _check_place(self) -> None:
        """Raises StoreError for what stands in the place of the folder: a file, a link to nowhere or out of the results
        folder.
        """
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise StoreError(f"runs/{self.key} must be a folder, but is none.")
        if not is_inside(self.path, self.results):
            raise StoreError(f"runs/{self.key} must be a folder, but is a link out of the results folder.")

    def _state(self) -> dict[str, tuple[float, int, int]]:
        """Time, size and number of each file of the record that is there, which tell whether one has changed.

        Raises StoreError for what stands in the place of a file: a folder, a pipe, a link to nowhere or out of the
        results folder.
        """
        statuses = {name: status for name in (WEIGHTS, *RECORD) if (status := self._status(name)) is not None}
        return {name: (status.st_mtime, status.st_size, status.st_ino) for name, status in statuses.items()}

    def _status(self, name: str) -> os.stat_result | None:
        """Status of a file of the record, or None if there is none. Raises StoreError for what else is there."""
        path = os.path.join(self.path, name)
        try:
            status = os.lstat(path)
        except OSError:
            return None
        is_link = stat.S_ISLNK(status.st_mode)
        if is_link:
            with suppress(OSError):  # of a link to nowhere, which is not a regular file
                status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise StoreError(f"runs/{self.key}: {name} must be a file, but is none.")
        if is_link and not is_inside(Path(path), self.results):
            raise StoreError(f"runs/{self.key}: {name} must be a file, but is a link out of the results folder.")
        return status

    def _check(self) -> tuple[Checked, dict[str, Any] | None]:
        """The check of a folder that lies in the results folder, and the configuration if it is a record."""
        try:
            record = sound_record(self.key, self._held(RECORD, folder_is_inside=True))
        except StoreError as error:
            return Checked(f"runs/{self.key}: {error}"), None
        early = math.nan if record.trace is None else stopped_early(record.trace)
        return Checked("", record.result, early), record.config

    # ------------------------------------------------------------ writing a record

    def create(self, config: Mapping[str, Any]) -> None:
        """Creates the folder and writes the configuration; a damaged record that is there is set aside."""
        if self.fault(config):
            self.set_aside()
        make_folder(self.path, self.results)
        write_json(self.path / "config.json", config)

    def finish(
        self,
        rows: Sequence[Mapping[str, Any]],
        result: Mapping[str, Any],
        examples: Mapping[str, npt.NDArray[np.float32]] | None = None,
        state: Mapping[str, Any] | None = None,
        weights: bytes | None = None,
    ) -> None:
        """Writes trace, result, and examples and weights if there are any, then deletes the checkpoint.

        `state` is kept as the checkpoint instead, for a run with a larger budget to go on from.
        """
        files = {"trace.parquet": trace_bytes(trace.arrow_table([dict(row) for row in rows]))}
        if examples is not None:
            files["examples.npz"] = _array_bytes(examples)
        if weights is not None:
            files[WEIGHTS] = weights
        if state is not None:
            self.save_checkpoint(state)
        self._end({**files, "result.json": json_bytes(result)})
        kept = {self._checkpoint: state, self.weights_path: weights}
        leftovers = [path for path, held in kept.items() if held is None]
        for leftover in (self._progress, self.path / "error.txt", *leftovers):
            leftover.unlink(missing_ok=True)

    def fail(self, result: Mapping[str, Any], details: str) -> None:
        """Writes the result of a failed run; its checkpoint stays, for the next attempt."""
        make_folder(self.path, self.results)
        text = printable(details).encode("utf-8")[: LARGEST_FILES["error.txt"]]
        self._end({"error.txt": text, "result.json": json_bytes(result)})
        self._progress.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Removes the result: the run has not ended, and is tried again."""
        (self.path / "result.json").unlink(missing_ok=True)

    def _end(self, files: Mapping[str, bytes]) -> None:
        """Writes these files, and a manifest of them and of the configuration."""
        listed = {**self._held(["config.json"]), **files}
        self._write({**files, MANIFEST: manifest_of(listed)})

    def _write(self, files: Mapping[str, bytes]) -> None:
        """Writes these files, the result last, so that it implies all others."""
        self.reopen()
        for name in FILES:
            if name in files:
                write_bytes(self.path / name, files[name])

    # ------------------------------------------------------------ a run that goes on

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        import torch

        write_sealed(self._checkpoint, self._magic, lambda file: torch.save(dict(state), file))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The state where the run was interrupted or its budget ended it.

        None if there is none, or if it is damaged, another run's or none that may be read.
        """
        # A checkpoint torn by a power cut is no loss: the run begins again and comes to the same numbers.
        with suppress(StoreError):
            payload = unseal(self._magic, self.read("checkpoint.pt") or b"")
            if payload is not None:
                with decoding(self._checkpoint, "a checkpoint"):
                    return dict(load_tensors(payload))
        return None

    def checkpoint_bytes(self) -> int:
        return self._checkpoint.stat().st_size if self._checkpoint.is_file() else 0

    def report(self, progress: Mapping[str, Any]) -> None:
        """Writes the progress of the run, for observers in other processes."""
        write_json(self._progress, progress)

    def progress(self, since: float = 0.0) -> dict[str, Any] | None:
        """The last report if it was made after `since` (seconds of the system's clock), else None."""
        with suppress(OSError):
            if self._progress.stat().st_mtime >= since:
                report = self._json("progress.json")
                return None if report is None else checked_progress(report, self.key)
        return None

    # ------------------------------------------------------------ all files

    def contents(self) -> Contents:
        """The current contents of the folder; a checkpoint that may not be read counts as none, as everywhere.

        Raises StoreError for another file that may not be read.
        """
        files = self._held([WEIGHTS, *RECORD])
        with suppress(StoreError):
            files |= self._held(["checkpoint.pt"])
        return Contents(files, (self.path / "result.json").stat().st_mtime if "result.json" in files else None)

    def put(self, contents: Contents) -> None:
        """Writes these contents into the folder in place of what is there; a damaged record is set aside."""
        if self.fault():
            self.set_aside()
        make_folder(self.path, self.results)
        self.reopen()
        for name in FILES:  # before the new files are there, which an old manifest would not fit
            if name not in contents.files:
                (self.path / name).unlink(missing_ok=True)
        self._write(contents.files)
        if contents.ended is not None:
            os.utime(self.path / "result.json", (contents.ended, contents.ended))

    def _held(self, names: Sequence[str], folder_is_inside: bool = False) -> dict[str, bytes]:
        """The contents of the files of these names that are there. Raises StoreError if one may not be read."""
        found = {name: self.read(name, folder_is_inside) for name in names}
        return {name: held for name, held in found.items() if held is not None}


def _array_bytes(arrays: Mapping[str, npt.NDArray[np.float32]]) -> bytes:
    import numpy as np

    sink = io.BytesIO()
    np.savez_compressed(sink, allow_pickle=False, **arrays)
    return sink.getvalue()
