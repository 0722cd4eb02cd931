"""Damage to any file that hfbench reads back: never a traceback, and no table changes without a word."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console
from support.frozen_zoo import zoo
from support.made_records import records
from support.tiny_study import tiny

from hfbench.commands import import_records
from hfbench.commands.diagnose import diagnose_run
from hfbench.commands.export import export_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import HfbenchError
from hfbench.execution.progress import note
from hfbench.probe.frozen_system import read_system
from hfbench.records import archive, judgements
from hfbench.records.judgements import Judged, judged_before, remember
from hfbench.records.locks import FOLDER, TakenError, study_lock
from hfbench.records.recorded_study import RecordedStudy, gather
from hfbench.records.run_folder import RunFolder
from hfbench.report import study_figures

OF_RECORD = ("config.json", "trace.parquet", "examples.npz", "manifest.json", "result.json")
FEW, MANY = 6, 2000  # examples: of each file in the fast tests, of all files together in the slow ones


# ---------------------------------------------------------------- damage

DEEP = "[" * 50_000
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(10**400), 10**400), st.floats(), st.text(max_size=5),
    st.sampled_from(["<script>", "../../up", "\ud800", "\x1b[2J", "NaN", [], {}, [[]], {"a": {}}, -1, 1e308, "budget"]),
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, held: bytes) -> bytes | None:
    """The contents of a file after an accident or an attack; None for no file."""
    kind = draw(st.sampled_from(["cut", "flip", "gone", "other", "lengthened", "edited", "edited", "edited"]))
    if kind == "gone":
        return None
    if kind == "cut":
        return held[: draw(st.integers(0, len(held) - 1))]
    if kind == "lengthened":
        at = draw(st.integers(0, len(held)))
        return held[:at] + draw(st.binary(min_size=1, max_size=20)) + held[at:]
    if kind == "other":
        return draw(st.one_of(st.binary(max_size=50), st.sampled_from([b"", b"{}", b"[]", b"null", DEEP.encode()])))
    if kind == "edited" and held.startswith(b"{"):
        return edited(draw, json.loads(held))
    flipped = bytearray(held)
    for _ in range(draw(st.integers(1, 3))):
        flipped[draw(st.integers(0, len(held) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(flipped)


def edited(draw: st.DrawFn, values: Any) -> bytes:
    """A JSON text with an entry of another type or value, or without it."""
    place = values
    while True:
        at = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[at]
        if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
            break
        place = inner
    if draw(st.booleans()):
        place[at] = draw(VALUES)
    else:
        del place[at]
    return json.dumps(values).encode()


# ---------------------------------------------------------------- what is read

Read = Callable[[], Any]


@dataclass(frozen=True)
class Kept:
    """A file, how it is read, and how what is read may differ from what was written: not at all if it is not said."""

    path: Path
    read: Read
    allowed: Callable[[Any, Any], bool] = lambda now, before: bool(now == before)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


def table_of(recorded: RecordedStudy) -> dict[str, str]:
    """What reports show of every run, and its whole trace; what is damaged is named, what is gone is missing."""
    traces = recorded.traces("tiny-curves")
    shown = {
        str(row["key"]): repr((row, traces[row["method"], row["seed"]].to_dict("list")))
        for row in recorded.runs.to_dict("records")
    }
    recorded.examples("tiny-curves")
    told = recorded.others.damaged()
    assert all("makes it again" in line and "\n" not in line and line.isprintable() for line in told)
    assert len(shown) + len(recorded.missing) == len(recorded.specs)
    assert len(recorded.missing) >= len(told)
    return shown


def study_read(study: Study, results: Path) -> dict[str, str]:
    """The table of a study, and every command that reads its records."""
    planned = {spec.key(): spec for spec in runs_of(study)}
    shown = table_of(gather(study, planned, results))
    for key in planned:
        with mock.patch("hfbench.records.run_folder._checks", {}), suppress(HfbenchError):
            diagnose_run(key, results, quiet())
    with suppress(HfbenchError):
        export_study(study, results, None, quiet(), results.parent / "copy.parquet")
        exported = archive.archived_contents(results.parent / "copy.parquet", planned)
        assert exported.keys() == shown.keys()
    with suppress(HfbenchError):
        held = import_records._records_in(results, planned, study.name, quiet())
        assert {*held.keys} >= shown.keys()
    return shown


def fewer(now: dict[str, str], before: dict[str, str]) -> bool:
    """Runs may be missing, and those that are there are as they were."""
    return now.items() <= before.items()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kept]:
    """Every kind of file that hfbench reads back, by name."""
    folder = tmp_path_factory.mktemp("kept")
    study, results = tiny(folder), folder / "results"
    planned = {spec.key(): spec for spec in runs_of(study)}
    first = list(records(study, results).values())[0]
    files = {name: Kept(first.path / name, lambda: study_read(study, results), fewer) for name in OF_RECORD}
    earlier = folder / "earlier"
    for one in records(study, earlier).values():
        (one.path / "manifest.json").unlink()
        old = one
    for name in ("config.json", "trace.parquet", "examples.npz", "result.json"):
        # Without a manifest a number may change within its range.
        files[f"earlier {name}"] = Kept(old.path / name, lambda: study_read(study, earlier), lambda now, before: True)
    archived = folder / "archive.parquet"
    archive.write_archive(gather(study, planned, results), archived)
    files["archive"] = Kept(archived, lambda: _unpacked(study, archived, folder / "unpacked"))
    files["checkpoint.pt"] = _checkpoint(folder)
    files["progress.json"] = _progress(folder)
    files["judgements.json"] = _judgements(folder)
    files["figures.json"] = _figures(folder)
    files["system"] = _system(folder)
    files["lock"] = _lock(folder)
    return files


def _unpacked(study: Study, file: Path, results: Path) -> dict[str, str]:
    there, held = archive.unpack(file, study.name, {spec.key(): spec for spec in runs_of(study)}, results)
    return table_of(gather(study, held, results, there))


def _checkpoint(folder: Path) -> Kept:
    running = RunFolder(folder / "running", "abc")
    running.create({})
    running.save_checkpoint({"weights": torch.arange(20.0), "rows": [{"iteration": 1}]})

    def read() -> str:
        return repr(running.load_checkpoint())

    return Kept(running.path / "checkpoint.pt", read, lambda now, before: now in (before, "None"))


def _progress(folder: Path) -> Kept:
    running = RunFolder(folder / "reported", "abc")
    running.create({})
    running.report({"name": "hf/usps/s0", "iteration": 4, "error": 9.1, "target": 7.0, "spent": 0.5})

    def read() -> str:
        report = running.progress()
        return "" if report is None else f"{report['name']} {min(1.0, report.get('spent', 0.0))} {note(report)}"

    return Kept(running.path / "progress.json", read, lambda now, before: True)  # it is shown, and gone with the run


def _judgements(folder: Path) -> Kept:
    remember(folder, [], (2, 3), {"a against b on c": Judged("digest", "rule", (0, 1), (0,), "better")})
    return Kept(folder / judgements.FILE, lambda: judged_before(folder), lambda now, before: now in (before, []))


def _figures(folder: Path) -> Kept:
    for name in ("forest.png", "forest.svg"):
        (folder / name).write_bytes(name.encode())
    drawn = study_figures.Figure("forest", "", folder / "forest.png", folder / "forest.svg", "Ratios.")
    study_figures._keep(folder, "records", [drawn])
    kept = folder / study_figures.KEPT
    return Kept(kept, lambda: study_figures._kept(folder, "records"), lambda now, before: now in (before, None))


def _system(folder: Path) -> Kept:
    path = zoo()[0].save(folder / "one.system")
    return Kept(path, lambda: repr(read_system(path)))


def _lock(folder: Path) -> Kept:
    def read() -> str:
        with mock.patch("hfbench.records.locks.time.sleep"), pytest.raises(TakenError) as taken:
            study_lock(folder, "tiny", "hfbench compare")
        return str(taken.value)

    HELD.append(study_lock(folder, "tiny", "hfbench run"))
    return Kept(folder / FOLDER / "study-tiny", read, lambda now, before: True)


HELD: list[Any] = []  # to the end of the tests


# ---------------------------------------------------------------- what must hold

NAMES = (
    *OF_RECORD,
    *(f"earlier {name}" for name in OF_RECORD if name != "manifest.json"),
    *("archive", "checkpoint.pt", "progress.json", "judgements.json", "figures.json", "system", "lock"),
)


def outcome(read: Read) -> Any:
    try:
        return read()
    except HfbenchError as error:
        return error


def check(file: Kept, examples: int) -> None:
    """Reads the file as it was, and after so many damages."""
    held, before = file.path.read_bytes(), file.read()

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=[*HealthCheck])
    @given(damaged(held))
    def holds(damage: bytes | None) -> None:
        file.path.unlink()
        if damage is not None:
            file.path.write_bytes(damage)
        now = outcome(file.read)
        file.path.write_bytes(held)
        assert str(now) if isinstance(now, HfbenchError) else file.allowed(now, before)

    holds()
    assert file.read() == before


def test_every_kind_of_file_is_damaged(kept: dict[str, Kept]) -> None:
    assert kept.keys() == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_no_damage_makes_a_traceback_or_changes_a_table(kept: dict[str, Kept], name: str) -> None:
    check(kept[name], FEW)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_no_damage_of_many_does(kept: dict[str, Kept], name: str) -> None:
    check(kept[name], MANY // len(NAMES) + 1)
