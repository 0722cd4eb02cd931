"""Runner of all benchmarks: options, discovery, tables and JSON."""

from __future__ import annotations

import ast
import importlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, Protocol, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean

FOLDER = Path(__file__).parent
WIDTH = 80
Value = float | int | str | None
Row = dict[str, Value]


@dataclass(frozen=True)
class Options:
    """Options of the command line for a benchmark."""

    threads: int = 2
    quick: bool = False  # fewer sizes, fewer rounds: a look, no figure to quote
    peer: Path | None = None  # the source of PyTorchHessianFree
    data: str | None = None  # the folder with MNIST and USPS


class Benchmark(Protocol):
    """A module of this folder. It may have `check_options(options)`, which is called before any benchmark runs."""

    TITLE: str
    COLUMNS: dict[str, str]  # key of a row: heading; in order

    def rows(self, options: Options) -> Iterator[Row]: ...


# ---------------------------------------------------------------- which there are


def titles() -> dict[str, str]:
    """Every benchmark by name, with its title; none is imported."""
    found = {path.stem: _constant(path, "TITLE") for path in sorted(FOLDER.glob("*.py"))}
    return {name: title for name, title in found.items() if title}


def checked_names(given: Sequence[str]) -> list[str]:
    """The benchmarks asked for, each once; by default all that this machine can run.

    Raises ConfigError for an unknown name.
    """
    known = list(titles())
    for name in given:
        if name not in known:
            near = did_you_mean(name, known)
            raise ConfigError(f"no benchmark {name!r}{near}; known: {', '.join(known)}.")
    return list(dict.fromkeys(given)) or [name for name in known if name != "gpu" or _has_gpu()]


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def load(name: str) -> Benchmark:
    return cast(Benchmark, importlib.import_module(f"{__package__}.{name}"))


def _constant(path: Path, name: str) -> str:
    for node in ast.parse(path.read_text("utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
        if [ast.unparse(target) for target in targets] == [name]:
            return str(ast.literal_eval(getattr(node, "value", node)))
    return ""


# ---------------------------------------------------------------- what they found


def measure(name: str, options: Options, report: Callable[[Row], None] = lambda row: None) -> dict[str, Any]:
    """Title, columns and rows of one benchmark, and the load of the machine; `report` gets each row at once."""
    benchmark = load(name)
    busy = busy_cores()
    rows: list[Row] = []
    for row in benchmark.rows(options):
        unknown = row.keys() - benchmark.COLUMNS.keys()
        if unknown:
            raise ValueError(f"{name}: rows must have no keys but its columns', but one has {', '.join(unknown)}.")
        rows.append(row)
        report(row)
    busy = _most(busy, busy_cores())
    quick = {"quick": True} if options.quick else {}
    return {"title": benchmark.TITLE, **quick, "busy_cores": busy, "columns": benchmark.COLUMNS, "rows": rows}


def _most(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else max(before, after)


def busy_cores(seconds: float = 0.5) -> float | None:
    """The number of cores that other work keeps busy, over a time in which this process waits; None except on Linux.

    The system's load average is not used, since it includes the previous benchmark for minutes.
    """
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    if before is None or after is None:
        return None
    passed = [b - a for a, b in zip(before, after, strict=True)]
    waiting = passed[3] + passed[4]  # idle, and idle with input or output under way
    return round((os.cpu_count() or 1) * (1 - waiting / max(sum(passed), 1)), 2)


def _ticks() -> list[int] | None:
    """Time of all cores by kind of work, in ticks: proc(5)."""
    try:
        first = Path("/proc/stat").read_text("ascii").split("\n", 1)[0]
    except OSError:
        return None
    return [int(column) for column in first.split()[1:9]]


def text(value: Value) -> str:
    """Text of a cell: floats to three digits, a dash for missing values."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def table(found: Mapping[str, Any]) -> Table:
    """The table: numbers right-aligned, words left-aligned, lines broken between words, without empty columns."""
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="", show_edge=False)
    rows = found["rows"]
    filled = {key for row in rows for key, value in row.items() if value is not None}
    columns = {key: heading for key, heading in found["columns"].items() if key in filled}
    for key, heading in columns.items():
        cells = [text(row.get(key)) for row in rows]
        is_text = any(isinstance(row.get(key), str) for row in rows)
        longest = max(len(word) for cell in (heading, *cells) for word in cell.split())
        shown.add_column(fill(heading, longest), justify="left" if is_text else "right", min_width=longest)
    for row in rows:
        shown.add_row(*(text(row.get(key)) for key in columns))
    return shown


def show(found: Mapping[str, Any], console: Console) -> None:
    console.print(f"\n{found['title']}\n", markup=False, highlight=False)
    console.print(table(found), markup=False, highlight=False)


# ---------------------------------------------------------------- JSON


def read(file: Path, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier benchmarks in a file, which are kept; empty if there is no file.

    Raises ConfigError if the file is from another machine or of another kind, since figures of two machines are not
    comparable.
    """
    if not file.exists():
        if not file.absolute().parent.is_dir():
            raise ConfigError(f"--json: must be a file in a folder that exists, but {file.parent} is none.")
        return {"machine": dict(machine), "benchmarks": {}}
    try:
        held = json.loads(file.read_text("utf-8"))
        differs = [name for name in machine | held["machine"] if machine.get(name) != held["machine"].get(name)]
        held["benchmarks"].items()
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise ConfigError(f"--json: must be a new file or one of ours, but {file} is another: move it away.") from error
    if differs:
        raise ConfigError(
            f"--json: {file} was measured on another machine or with other settings ({', '.join(differs)}): give "
            "another file."
        )
    return dict(held)


def write(file: Path, held: Mapping[str, Any]) -> None:
    """Writes the file atomically, with a line per row, so that diffs show changed rows."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(_json(held) + "\n", "utf-8")
    new.replace(file)


def _json(held: Mapping[str, Any]) -> str:
    parts = []
    for name, found in sorted(held["benchmarks"].items()):
        head = json.dumps({key: value for key, value in found.items() if key != "rows"}, ensure_ascii=False)
        rows = ",\n".join(f"   {json.dumps(_rounded(row), ensure_ascii=False)}" for row in found["rows"])
        parts.append(f'  {json.dumps(name)}: {head[:-1]}, "rows": [\n{rows}\n  ]}}')
    machine = json.dumps(held["machine"], ensure_ascii=False)
    return f'{{\n "machine": {machine},\n "benchmarks": {{\n' + ",\n".join(parts) + "\n }\n}"


def _rounded(row: Row) -> Row:
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in row.items()}
