"""`hfbench import`: brings records made elsewhere into one results folder and judges them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hfbench.commands.compare import compare_study
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import StoreError
from hfbench.interrupts import raise_if_interrupted
from hfbench.messages import count
from hfbench.records import archive
from hfbench.records.files import check_folder, prepare
from hfbench.records.locks import study_lock
from hfbench.records.recorded_study import gather
from hfbench.records.run_folder import Contents, RunFolder
from hfbench.records.study_home import with_asked_seeds
from hfbench.records.validation import check_planned


def import_study(
    study: Study,
    sources: Sequence[Path],
    results: Path,
    data: str | None,
    console: Console,
    options: Sequence[str] = (),
    in_latex: bool = False,
) -> int:
    """Copies the study's runs from the sources into `results`, and judges all runs recorded there.

    A source is a results folder or an archive that `hfbench export` wrote. Runs are identified by their keys alone: the
    same key means the same settings, data and code. A run that has ended in `results` is not changed. If several
    sources hold a run, the first one that has ended is taken, or else a checkpoint, from which `hfbench run` continues.
    Only regular files of a bounded size that lie in the source are read, and what was checked is what is written. A
    damaged record in a folder is left out, with a line. Returns 0, or 1 if runs are still missing. Raises StoreError,
    before anything is copied, for a source that is neither, that is a damaged archive, or that holds no sound run of
    the study.
    """
    study = with_asked_seeds(study, results)
    specs = {spec.key(): spec for spec in runs_of(study, data)}
    records = {source: _records_in(source, specs, study.name, console) for source in sources}
    prepare(results)
    with study_lock(results, study.name, "hfbench import"):
        for source, found in records.items():
            taken = [key for key in found.keys if _took(RunFolder(results, key), found.read)]
            raise_if_interrupted()
            left = f", {len(found.keys) - len(taken)} there already" if len(taken) < len(found.keys) else ""
            said = f"{source}: {len(taken)} of {count(len(found.keys), 'run')} of {study.name} taken{left}"
            console.print(said, highlight=False, soft_wrap=True)
    compare_study(study, results, data, console, options, in_latex=in_latex)
    return 1 if gather(study, specs, results).missing else 0


@dataclass(frozen=True)
class _Records:
    """The sound runs of a source by key, and what reads one of them: checkpoints of all would take too much memory."""

    keys: Sequence[str]
    read: Callable[[str], Contents]


def _took(folder: RunFolder, read: Callable[[str], Contents]) -> bool:
    """Writes what was read and returns True, unless a run has ended there or a checkpoint would replace a folder."""
    if folder.is_complete():
        return False
    contents = read(folder.key)
    if folder.path.exists() and contents.ended is None:
        return False
    folder.put(contents)
    return True


def _records_in(source: Path, specs: Mapping[str, RunSpec], name: str, console: Console) -> _Records:
    """The study's runs in a source."""
    faults: dict[str, str] = {}
    if (source / "runs").is_dir():
        check_folder(source / "runs", source)
        there, faults = _in_folder(source, specs)
        found = _Records(there, lambda key: _checked(RunFolder(source, key), specs[key]))
    elif source.is_file():
        contents = archive.archived_contents(source, specs)
        found = _Records(list(contents), contents.__getitem__)
    else:
        what = "holds no runs/" if source.is_dir() else "is neither" if os.path.lexists(source) else "is not there"
        raise StoreError(
            f"a source must be a results folder or an archive that `hfbench export` wrote, but {source} {what}."
        )
    if not found.keys:
        told = "".join(f" {fault}" for fault in list(faults.values())[:1])
        raise StoreError(
            f"{source} holds none of the {len(specs)} runs of {name}, with these settings, data and version of hfbench."
            f"{told}"
        )
    for fault in faults.values():
        console.print(fault, highlight=False, soft_wrap=True)
    return found


def _in_folder(source: Path, specs: Mapping[str, RunSpec]) -> tuple[list[str], dict[str, str]]:
    """The keys of the sound runs in a results folder, ended or under way, and a sentence for each that is damaged."""
    sound, faults = [], {}
    for key, spec in specs.items():
        folder = RunFolder(source, key)
        try:
            if {"config.json", "result.json"} & _checked(folder, spec).files.keys():
                sound.append(key)
        except StoreError as error:
            faults[key] = f"{spec.name} is left out: {folder.path}: {error}"
    return sound, faults


def _checked(folder: RunFolder, spec: RunSpec) -> Contents:
    """What a folder holds of a run. Raises StoreError if it is damaged or another run's."""
    contents = folder.contents()
    if {"config.json", "result.json"} & contents.files.keys():
        check_planned(folder.key, contents.files, spec.config())
    return contents
