"""Results folders that somebody sent, mutated at random: one sentence for what is wrong, and nothing is believed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from rich.console import Console
from support.hostile_folders import LISTED, NUMBERS, SHAPES, TEXTS, Mutator, deep, digests, plain
from support.made_records import record, result_of, rows_of
from support.misplaced_files import PRIVATE, soon
from support.tiny_study import compare_quietly, results_folder, tiny, uses_mlflow

from hfbench.commands import compare, import_records
from hfbench.commands.diagnose import diagnose_run, diagnose_study, is_key
from hfbench.commands.export import export_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import HfbenchError, StoreError
from hfbench.records.recorded_study import gather
from hfbench.records.run_folder import Contents, RunFolder
from hfbench.records.shorter_runs import ShorterRuns
from hfbench.records.validation import MANIFEST, manifest_of, sound_record

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]

LONGEST = 1500  # characters of a message
STEPS = 12  # enough for `diagnose` to look at a run
LOGGED = 10  # of so many cases one is written to MLflow too


@dataclass
class Seen:
    """What came of a campaign."""

    refused: int = 0
    accepted: int = 0
    longest: int = 0
    sentences: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    return judged_study(tmp_path_factory.mktemp("sound"))


def judged_study(folder: Path) -> tuple[Study, Path]:
    """A study that was run and judged: two runs reached the target, one spent its budget, one failed."""
    study, results = tiny(folder), results_folder(folder / "results")
    first, second, third, fourth = runs_of(study)
    record(first, results, n=STEPS)
    record(second, results, n=STEPS)
    cut, rows = RunFolder(results, third.key()), rows_of(third, STEPS)[:-1]
    result = result_of(third, cut.key, rows, "tiny")
    missed = {name: None for name in result if name.endswith("_to_target")}
    cut.create(third.config())
    cut.finish(rows, {**result, **missed, "outcome": "budget"}, state={"rows": rows})
    failed = RunFolder(results, fourth.key())
    failed.create(fourth.config())
    known = {name: result_of(fourth, failed.key, rows, "tiny")[name] for name in ("task", "method", "seed", "versions")}
    identity = {**known, "key": failed.key, "study": "tiny", "threads": 1}
    failed.fail({**identity, "outcome": "failed", "cause": "method", "error": "boom"}, "Traceback: boom")
    with mock.patch.dict(os.environ), mock.patch("hfbench.report.study_figures.draw_figures", return_value=[]):
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        compare_quietly(study, results)
        for name in ("forest.png", "forest.svg"):
            (results / "studies/tiny" / name).write_bytes(b"drawn")
        (results / "studies/tiny/figures.json").write_text(json.dumps({"files": {}, "figures": []}))
    return study, results


def commands(study: Study, results: Path, here: Path, logged: bool) -> dict[str, Callable[[Console], object]]:
    """Every command that reads records, by name."""
    keys = [spec.key() for spec in runs_of(study)]

    def compared(console: Console) -> None:
        unlogged = contextlib.nullcontext() if logged else mock.patch.object(compare, "_tracked", return_value=None)
        with unlogged:
            compare.compare_study(study, results, None, console)

    def brought(console: Console) -> None:
        with mock.patch.object(import_records, "compare_study", return_value=0):
            import_records.import_study(study, [results], here, None, console)

    return {
        "import": brought,
        "diagnose a run": lambda console: [diagnose_run(key, results, console) for key in keys if is_key(key, results)],
        "diagnose": lambda console: diagnose_study(study, results, None, console),
        "export": lambda console: export_study(study, results, None, console, here.parent / "copy.parquet"),
        "compare": compared,
    }


def check(study: Study, pristine: Path, folder: Path, seed: int, seen: Seen) -> None:
    """One case: a copy of the results is mutated and read by every command."""
    case, here = folder / "case", folder / "here"
    shutil.copytree(pristine, case / "results")
    (case / "outside").mkdir()
    mutator = Mutator(case / "results", seed)
    mutator.mutate()
    outside = digests(case / "outside")
    original = {key: (pristine / "runs" / key / "result.json").read_text() for key in os.listdir(pristine / "runs")}
    with mock.patch("hfbench.records.run_folder._checks", {}), mock.patch("hfbench.records.locks.time.sleep"):
        for name, command in commands(study, case / "results", here, mutator.logged or seed % LOGGED == 0).items():
            screen = io.StringIO()
            try:
                soon(lambda command=command, screen=screen: command(Console(file=screen, width=80)), 60)  # type: ignore[misc]
                said, seen.accepted = [], seen.accepted + 1
            except HfbenchError as error:
                said, seen.refused = [str(error)], seen.refused + 1
            except BaseException as error:
                raise AssertionError(f"seed {seed}, {name}, {mutator.done}: {type(error).__name__}: {error}") from error
            lines = [*screen.getvalue().splitlines(), *said]
            seen.longest = max([seen.longest, *map(len, lines)])
            assert seen.longest <= LONGEST, (seed, name, mutator.done, max(lines, key=len)[:300])
            assert not any("Traceback" in line or "\x1b" in line for line in lines), (seed, name, mutator.done, lines)
        believed(study, case / "results", original, mutator, seed)
    assert digests(case / "outside") == outside, (seed, mutator.done)
    for written in (case / "results", here):
        held = [path for path in written.rglob("*") if plain(path) and PRIVATE in path.read_bytes()]
        assert not held, (seed, mutator.done, held)
    assert (folder / "private").read_bytes() == PRIVATE, (seed, mutator.done)
    shutil.rmtree(case)
    shutil.rmtree(here, ignore_errors=True)


def believed(study: Study, results: Path, original: dict[str, str], mutator: Mutator, seed: int) -> None:
    """What is believed has the digests of its manifest, and is what was recorded unless these were made to fit."""
    planned = {spec.key(): spec for spec in runs_of(study)}
    try:
        ended = gather(study, planned, results).ended
    except HfbenchError:
        return
    for key, result in ended.items():
        folder = results / "runs" / key
        listed = (
            json.loads((folder / "manifest.json").read_bytes())["sha256"] if plain(folder / "manifest.json") else {}
        )
        now = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}
        assert now == listed, (seed, mutator.done)
        if listed and not mutator.fits:
            assert result == json.loads(original[key]), (seed, mutator.done)
        spent = [result[name] for name in ("work", "products", "seconds", "iterations") if result.get(name) is not None]
        assert result["outcome"] in ("reached", "budget", "diverged", "failed"), (seed, mutator.done)
        assert all(0 <= value < math.inf for value in spent) or result["outcome"] == "failed", (seed, mutator.done)
        assert (result["task"], result["method"], result["seed"]) == (
            planned[key].task, planned[key].method.name, planned[key].seed
        ), (seed, mutator.done)  # fmt: skip


def campaign(sound: tuple[Study, Path], folder: Path, seeds: range) -> None:
    study, pristine = sound
    (folder / "private").write_bytes(PRIVATE)
    seen = Seen()
    for seed in seeds:
        check(study, pristine, folder, seed, seen)
    print(f"{len(seeds)} folders: {seen.accepted} readings accepted, {seen.refused} refused, longest {seen.longest}")
    assert seen.accepted
    assert seen.refused


def test_some_hostile_folders(sound: tuple[Study, Path], tmp_path: Path) -> None:
    campaign(sound, tmp_path, range(20))


@pytest.mark.slow
def test_more_hostile_folders(sound: tuple[Study, Path], tmp_path: Path) -> None:
    campaign(sound, tmp_path, range(20, 100))


@pytest.mark.slow
@pytest.mark.long
def test_many_hostile_folders(sound: tuple[Study, Path], tmp_path: Path) -> None:
    campaign(sound, tmp_path, range(100, 500))


# ---------------------------------------------------------------- every entry

ENTRIES: tuple[Any, ...] = (*NUMBERS, *TEXTS, *SHAPES, deep(23), deep(900), "x" * 9999)


def entries(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every entry of a mapping, to those that hold others too."""
    inner = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for at, value in inner:
        yield (*path, at)
        yield from entries(value, (*path, at))


def changed(held: bytes, path: tuple[Any, ...], value: Any) -> bytes:
    values = json.loads(held)
    place = values
    for at in path[:-1]:
        place = place[at]
    place[path[-1]] = value
    return json.dumps(values).encode()


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["result.json", "config.json"])
def test_every_entry_with_every_value_and_fitting_digests(sound: tuple[Study, Path], tmp_path: Path, name: str) -> None:
    """What the schema takes, every command takes; of a run of each outcome."""
    study, results = sound[0], tmp_path / "results"
    shutil.copytree(sound[1], results)
    folders = [RunFolder(results, spec.key()) for spec in runs_of(study)]
    taken, refused = [], list[str]()
    for folder in {(folder.result() or {})["outcome"]: folder for folder in folders}.values():
        held = folder.contents().files
        for path, value in itertools.product(entries(json.loads(held[name])), ENTRIES):
            files = fitting({**held, name: changed(held[name], path, value)})
            try:
                sound_record(folder.key, files)
                taken.append((folder, files, path, value))
            except StoreError as error:
                refused.append(str(error))
    assert max(map(len, refused)) <= LONGEST
    for folder, files, path, value in taken:
        before = folder.contents()
        folder.put(Contents(files, 1.8e9))
        for what, command in readers(study, results, tmp_path / "here", name).items():
            screen = io.StringIO()
            try:
                command(Console(file=screen, width=80))
            except HfbenchError as error:
                print(error, file=screen)
            except Exception as error:
                raise AssertionError(f"{what}, {path}: {value!r:.80}: {type(error).__name__}: {error}") from error
            lines = screen.getvalue().splitlines()
            assert all(len(line) <= LONGEST and "\x1b" not in line for line in lines), (what, path, value)
        folder.put(before)
        shutil.rmtree(tmp_path / "here", ignore_errors=True)
    print(f"{name}: {len(refused)} refused, {len(taken)} taken")


def fitting(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files of a record with a manifest that lists the digests that they have."""
    return {**files, MANIFEST: manifest_of({name: held for name, held in files.items() if name in LISTED})}


def readers(study: Study, results: Path, here: Path, name: str) -> dict[str, Callable[[Console], object]]:
    """What believes an entry of such a file: of a configuration only what is not compared with the plan."""
    every = commands(study, results, here, logged=False)
    specs = runs_of(study)
    if name == "result.json":
        return every
    return {
        "diagnose a run": every["diagnose a run"],
        "a run to go on from": lambda console: [ShorterRuns(results).of(spec) for spec in specs],
    }
