"""Results folders as an attacker may send them: seeded mutations of sound ones, with digests that fit or do not."""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from hfbench.records.sealed import SEAL, _digest
from hfbench.records.validation import MANIFEST, manifest_of
from support.misplaced_files import MISPLACED

RECORD = ("config.json", "trace.parquet", "examples.npz", "error.txt", MANIFEST, "result.json", "checkpoint.pt")
LISTED = ("config.json", "trace.parquet", "examples.npz", "error.txt", "result.json")  # in a manifest
OF_STUDY = ("asked.json", "judgements.json", "figures.json", "comparisons.json")
FOLDERS = ("runs", "studies", "studies/tiny", ".locks", "set-aside", "archives", "mlflow-artifacts")
NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1.5, 2**63, -(2**63), 10**400, 1e308, -1e-300, float("nan"), float("inf"), True, None),
)
TEXTS = (
    *("", "x" * 5000, "../../outside/new", "/etc/passwd", "a\0b", "\x1b]52;c;bmV3\x07", "\ud800", "<script>", "failed"),
    *("reached", "budget", "diverged", "machine", "tiny", "hf", "[red]x[/red]", "e\u0301\u202e"),
)
SHAPES: tuple[Any, ...] = ([], {}, [[]], {"a": {}}, [1] * 2000, {"x" * 300: 1}, ["a", None, {}])


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


class Mutator:
    """Mutations of one results folder; the same seed gives the same ones."""

    def __init__(self, results: Path, seed: int) -> None:
        self.results, self.random = results, random.Random(seed)
        self.fits = False  # whether a digest was made to fit what was changed: then the schema alone must decide
        self.logged = False  # whether the database was changed, so that it is to be opened
        self.done: list[str] = []  # for the message of a test that fails

    def mutate(self) -> None:
        kinds: list[Callable[[], str]] = [
            self._bytes, self._misplaced, self._json, self._json, self._fitting_json, self._fitting_json,
            self._fitting_trace, self._fitting_trace, self._fitting_examples, self._folder, self._stranger, self._times,
            self._study_json, self._database,
        ]  # fmt: skip
        for _ in range(self.random.choice((1, 1, 2, 3))):
            if self._runs():
                self.done.append(self.random.choice(kinds)())

    # ------------------------------------------------------------ files as such

    def _runs(self) -> list[Path]:
        return sorted(path for path in (self.results / "runs").glob("?" * 16) if path.is_dir())

    def _run(self) -> Path:
        return self.random.choice(self._runs())

    def _file(self) -> Path:
        run = self._run()
        there = [run / name for name in RECORD if (run / name).is_file() and not (run / name).is_symlink()]
        there += [file for file in (self.results / "studies/tiny" / name for name in OF_STUDY) if file.is_file()]
        return self.random.choice([file for file in there if file.stat().st_size < 1 << 20])

    def _bytes(self) -> str:
        file = self._file()
        held, how = bytearray(file.read_bytes()), self.random.choice(("flip", "cut", "more", "other"))
        at = self.random.randrange(len(held) or 1)
        if how == "flip" and held:
            held[at] ^= 1 << self.random.randrange(8)
        elif how == "cut":
            del held[at:]
        elif how == "more":
            held[at:at] = self.random.randbytes(self.random.randrange(1, 50))
        else:
            held = bytearray(self.random.choice((b"", b"{}", b"[]", b"null", b"[" * 50_000, b"\xff" * 20)))
        replace(file, bytes(held))
        return f"{how} {file.name} at {at}"

    def _misplaced(self) -> str:
        run = self._run()
        studies = [self.results / "studies/tiny" / name for name in (*OF_STUDY, "report.md", "study.json")]
        others = [*studies, self.results / ".locks/study-tiny", self.results / ".locks/lock-study-tiny"]
        file = self.random.choice([*(run / name for name in (*RECORD, "progress.json")), *others])
        kinds = {**MISPLACED, "folder": Path.mkdir, "link to nowhere": lambda path: path.symlink_to("nowhere"),
                 "link to itself": lambda path: path.symlink_to(path.name)}  # fmt: skip
        kind = self.random.choice(sorted(kinds))
        if file.parent.is_dir():
            remove(file)
            kinds[kind](file)
        return f"a {kind} for {file.name}"

    def _database(self) -> str:
        name = self.random.choice(("mlflow.db", "mlflow.db", "mlflow.db-wal", "mlflow.db-journal", "sweeps.db"))
        kind = self.random.choice(("pipe", "link out", "device", "flip", "cut"))
        file = self.results / name
        if kind in MISPLACED:
            remove(file)
            MISPLACED[kind](file)
        elif plain(file):
            held = bytearray(file.read_bytes())
            for _ in range(20 if kind == "flip" else 0):
                held[self.random.randrange(len(held) or 1)] ^= 1 << self.random.randrange(8)
            replace(file, bytes(held[: self.random.randrange(len(held) or 1) if kind == "cut" else None]))
        self.logged = True
        return f"a {kind} for {name}"

    def _times(self) -> str:
        when = self.random.choice((-1e9, 0.0, 1e10, 2.0**33))
        os.utime(self._file(), (when, when))
        return f"written at {when}"

    # ------------------------------------------------------------ folders

    def _folder(self) -> str:
        folder = self.random.choice((self._run(), *(self.results / name for name in FOLDERS)))
        kind = self.random.choice(("file", "pipe", "link out", "link to nowhere", "link to itself", "gone", "twin"))
        outside = self.results.parent / "outside"
        if folder.is_symlink() or not folder.is_dir():
            return "nothing"
        if kind == "link out":
            shutil.copytree(folder, outside / folder.name, symlinks=True, ignore=pipes, dirs_exist_ok=True)
        remove(folder)
        {
            "file": folder.touch, "pipe": lambda: os.mkfifo(folder), "gone": lambda: None,
            "link out": lambda: folder.symlink_to(outside / folder.name, target_is_directory=True),
            "link to nowhere": lambda: folder.symlink_to("nowhere"),
            "link to itself": lambda: folder.symlink_to(folder.name),
            "twin": lambda: folder.symlink_to(self.results, target_is_directory=True),
        }[kind]()  # fmt: skip
        return f"a {kind} for {folder.name}"

    def _stranger(self) -> str:
        """Folders of runs with other names."""
        run = self._run()
        name = self.random.choice(("with space", "-rf", "abcd" * 4, run.name[:-1] + "z", run.name[:4], "x" * 200, "\n"))
        if not (run.parent / name).exists():
            shutil.copytree(run, run.parent / name, symlinks=True, ignore=pipes)
        return f"another folder {name[:20]!r}"

    # ------------------------------------------------------------ contents, with digests that fit

    def _json(self) -> str:
        file = self._run() / self.random.choice(("config.json", "result.json", MANIFEST))
        return self._edit(file)

    def _fitting_json(self) -> str:
        file = self._run() / self.random.choice(("config.json", "result.json", "result.json"))
        said = self._edit(file)
        self._fit(file.parent)
        return f"{said}, digest made to fit"

    def _study_json(self) -> str:
        file = self.results / "studies/tiny" / self.random.choice(OF_STUDY)
        said = self._edit(file)
        if self.random.random() < 0.7 and plain(file):
            values = json.loads(file.read_bytes())
            if isinstance(values, dict) and SEAL in values:
                values.pop(SEAL)
                replace(file, json.dumps({**values, SEAL: _digest(values)}).encode())
        return said

    def _edit(self, file: Path) -> str:
        """Another value for an entry of a JSON file, or none."""
        try:
            values = json.loads(file.read_bytes()) if plain(file) else None
        except ValueError:
            values = None
        if not isinstance(values, dict) or not values:
            return "nothing"
        place, path = values, ""
        while True:
            at = self.random.choice(sorted(place) if isinstance(place, dict) else range(len(place)))
            path += f".{at}"
            if not isinstance(place[at], dict | list) or not place[at] or self.random.random() < 0.3:
                break
            place = place[at]
        how = self.random.random()
        if how < 0.15:
            del place[at]
        elif how < 0.25 and isinstance(place, dict):
            place[self.random.choice(TEXTS)] = place[at]
        else:
            place[at] = self.random.choice((*NUMBERS, *TEXTS, *SHAPES, deep(30), deep(900)))
        replace(file, json.dumps(values).encode())
        return f"{file.name}{path}"

    def _fitting_trace(self) -> str:
        file = self._run() / "trace.parquet"
        try:
            table = pa.parquet.ParquetFile(file).read() if plain(file) else None
        except (pa.ArrowException, OSError):
            table = None
        names = [] if table is None else table.column_names
        if len(names) < 2 or len(set(names)) < len(names) or not len(table):  # by an earlier mutation
            return "nothing"
        name = self.random.choice(names)
        index, how = names.index(name), self.random.choice(("value", "value", "gone", "twice", "type", "rows", "null"))
        if how == "value":
            entries = table[name].to_pylist()
            kind = table.schema.field(name).type
            new = "x" * 3000 if kind == pa.string() else self.random.choice((-1, 0, 2**62))
            new = self.random.choice((float("nan"), float("inf"), -1.0, 1e308)) if kind == pa.float64() else new
            entries[self.random.randrange(len(entries))] = new
            table = table.set_column(index, table.schema.field(name), pa.array(entries, kind))
        elif how == "gone":
            table = table.drop_columns([name])
        elif how == "twice":
            table = table.append_column(name, table[name])
        elif how == "type":
            table = table.set_column(index, name, pa.array(["x"] * len(table)))
        elif how == "rows":
            table = table.slice(0, self.random.choice((0, 1, len(table) - 1)))
        else:
            table = table.set_column(index, name, pa.nulls(len(table), table.schema.field(name).type))
        sink = io.BytesIO()
        pa.parquet.write_table(table, sink)
        replace(file, sink.getvalue())
        self._fit(file.parent)
        return f"trace.{name}: {how}, digest made to fit"

    def _fitting_examples(self) -> str:
        run = self._run()
        arrays: dict[str, Any] = {
            name: np.zeros(self.random.choice(((2, 4, 4), (2,), (0, 0, 0), (1, 1, 1), (2000, 8, 8))), np.float32)
            for name in ("originals", "reconstructions", "errors", "more")[: self.random.randint(2, 4)]
        }
        if self.random.random() < 0.3:
            arrays["errors"] = np.array([{}, []], dtype=object)
        sink = io.BytesIO()
        np.savez_compressed(sink, **arrays)
        replace(run / "examples.npz", sink.getvalue())
        self._fit(run)
        return "examples, digest made to fit"

    def _fit(self, run: Path) -> None:
        """A manifest with the digests that the files have now."""
        self.fits = True
        held = {name: (run / name).read_bytes() for name in LISTED if plain(run / name)}
        replace(run / MANIFEST, manifest_of(held))


def plain(file: Path) -> bool:
    """A file that a test can read without waiting or filling the memory."""
    return file.is_file() and not file.is_symlink() and file.stat().st_size < 1 << 24


def replace(file: Path, held: bytes) -> None:
    """Writes a file in place of whatever stands there."""
    remove(file)
    file.write_bytes(held)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pipes(folder: str, names: list[str]) -> list[str]:
    """What a copy of a folder leaves out: it would wait for a pipe and take minutes for a sparse file."""
    return [name for name in names if not os.path.isdir(path := os.path.join(folder, name)) and not plain(Path(path))]


def digests(folder: Path) -> dict[str, str]:
    """Every path below a folder with what it is: the digest of a file, the target of a link."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = os.readlink(path)
        elif plain(path):
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[str(path)] = "folder" if path.is_dir() else "other"
    return found
