"""Run folders: `<results>/runs/<key>/` with config.json, trace.parquet and result.json.

Each file is written atomically, and result.json last, so that its presence means that the run has ended. Reading a file
cannot execute code: the formats are JSON, Parquet, and tensors loaded with `weights_only`.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.errors import StoreError
from hfbench.records.files import make_folder, read_json, safe_name, write_atomically, write_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

COMPLETE = ("reached", "budget", "diverged")  # outcomes that are not tried again
FILES = ("config.json", "trace.parquet", "examples.npz", "error.txt", "checkpoint.pt", "result.json")  # of a run


@dataclass(frozen=True)
class Contents:
    """The files of a run's folder, to be copied elsewhere."""

    files: Mapping[str, bytes]
    ended: float | None  # seconds of the system's clock; None for a run that has not


class RunFolder:
    """The record of one run, and its checkpoint while it runs."""

    def __init__(self, results: Path, key: str) -> None:
        self.key = key
        self.path = Path(results).absolute() / "runs" / safe_name(key)
        self.trace_path = self.path / "trace.parquet"
        self._checkpoint = self.path / "checkpoint.pt"
        self._progress = self.path / "progress.json"
        self._examples = self.path / "examples.npz"

    def create(self, config: Mapping[str, Any]) -> None:
        """Creates the folder and writes the configuration."""
        make_folder(self.path)
        write_json(self.path / "config.json", config)

    def result(self) -> dict[str, Any] | None:
        """The result, or None if the run has not ended."""
        return read_json(self.path / "result.json")

    def is_complete(self) -> bool:
        """True if the run has ended with an outcome that is final."""
        result = self.result()
        return result is not None and result.get("outcome") in COMPLETE

    def finish(
        self,
        rows: Sequence[Mapping[str, Any]],
        result: Mapping[str, Any],
        examples: Mapping[str, npt.NDArray[np.float32]] | None = None,
    ) -> None:
        """Writes trace, examples if there are any, and result, then deletes the checkpoint."""
        import pyarrow.parquet

        from hfbench.records import trace

        table = trace.arrow_table([dict(row) for row in rows])
        write_atomically(self.trace_path, lambda path: pyarrow.parquet.write_table(table, path))
        if examples is not None:
            write_atomically(self._examples, lambda path: _save_arrays(path, examples))
        write_json(self.path / "result.json", result)
        for leftover in (self._checkpoint, self._progress, self.path / "error.txt"):
            leftover.unlink(missing_ok=True)

    def fail(self, result: Mapping[str, Any], details: str) -> None:
        """Writes the result of a failed run; its checkpoint stays, for the next attempt."""
        make_folder(self.path)
        write_atomically(self.path / "error.txt", lambda path: path.write_text(details, encoding="utf-8"))
        write_json(self.path / "result.json", result)
        self._progress.unlink(missing_ok=True)

    def reopen(self) -> None:
        """Removes the result of a failed run that is tried again."""
        (self.path / "result.json").unlink(missing_ok=True)

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        import torch

        write_atomically(self._checkpoint, lambda path: torch.save(dict(state), path))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The state of the interrupted run, or None if there is none, or it cannot be read."""
        import torch

        if not self._checkpoint.exists():
            return None
        # A checkpoint torn by a power cut is no loss: the run begins again and comes to the same numbers.
        with suppress(OSError, RuntimeError, EOFError, pickle.UnpicklingError):
            return dict(torch.load(self._checkpoint, weights_only=True))
        return None

    def beside(self, key: str) -> RunFolder:
        """The folder of another run in the same results folder."""
        return RunFolder(self.path.parent.parent, key)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the trace of a run that has ended."""
        import pyarrow.parquet

        return list(pyarrow.parquet.read_table(self.trace_path).to_pylist())

    def has_examples(self) -> bool:
        return self._examples.exists()

    def examples(self) -> dict[str, npt.NDArray[np.float32]] | None:
        """Pictures of some test cases and their reconstructions, as passed to `finish`."""
        import numpy as np

        if not self.has_examples():
            return None
        with np.load(self._examples, allow_pickle=False) as arrays:
            return dict(arrays)

    def contents(self) -> Contents:
        """The current contents of the folder."""
        held = {name: self.path / name for name in FILES}
        files = {name: path.read_bytes() for name, path in held.items() if path.is_file()}
        return Contents(files, held["result.json"].stat().st_mtime if "result.json" in files else None)

    def put(self, contents: Contents) -> None:
        """Writes these contents into the folder, the result last, so that it implies all other files."""
        make_folder(self.path)
        for name in FILES:
            path, held = self.path / name, contents.files.get(name)
            if held is None:
                path.unlink(missing_ok=True)
            else:
                write_atomically(path, partial(Path.write_bytes, data=held))
        if contents.ended is not None:
            os.utime(self.path / "result.json", (contents.ended, contents.ended))

    def report(self, progress: Mapping[str, Any]) -> None:
        """Writes the progress of the run, for observers in other processes."""
        write_json(self._progress, progress)

    def progress(self, since: float = 0.0) -> dict[str, Any] | None:
        """The last report if it was made after `since` (seconds of the system's clock), else None."""
        with suppress(OSError, StoreError):
            if self._progress.stat().st_mtime >= since:
                return read_json(self._progress)
        return None


def _save_arrays(path: Path, arrays: Mapping[str, npt.NDArray[np.float32]]) -> None:
    import numpy as np

    with path.open("wb") as file:  # given a name, NumPy would add a suffix to it
        np.savez_compressed(file, allow_pickle=False, **arrays)
