"""`hfbench import`: brings records made elsewhere into one results folder and judges them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from hfbench.commands.compare import compare_study
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import StoreError
from hfbench.interrupts import raise_if_interrupted
from hfbench.messages import count
from hfbench.records import archive
from hfbench.records.files import prepare
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
) -> int:
    """Copies the study's runs from the sources into `results`, and judges all runs recorded there.

    A source is a results folder or an archive that `hfbench export` wrote. Runs are identified by their keys alone: the
    same key means the same settings, data and code. A run that has ended in `results` is not changed. If several
    sources hold a run, the first one that has ended is taken, or else a checkpoint, from which `hfbench run` continues.
    A damaged record in a folder is left out, with a line. Returns 0, or 1 if runs are still missing. Raises StoreError,
    before anything is copied, for a source that is neither, that is a damaged archive, or that holds no sound run of
    the study.
    """
    study = with_asked_seeds(study, results)
    specs = {spec.key(): spec for spec in runs_of(study, data)}
    held = {source: _held(source, specs, study.name, console) for source in sources}
    prepare(results)
    with study_lock(results, study.name, "hfbench import"):
        for source, found in held.items():
            taken = [key for key, contents in found.items() if _took(RunFolder(results, key), contents)]
            raise_if_interrupted()
            left = f", {len(found) - len(taken)} there already" if len(taken) < len(found) else ""
            said = f"{source}: {len(taken)} of {count(len(found), 'run')} of {study.name} taken{left}"
            console.print(escape(said), highlight=False, soft_wrap=True)
    compare_study(study, results, data, console, options)
    return 1 if gather(study, specs, results).missing else 0


def _took(folder: RunFolder, contents: Contents) -> bool:
    """Writes the contents and returns True, unless a run has ended there or a checkpoint would replace a folder."""
    if folder.is_complete() or (folder.path.exists() and contents.ended is None):
        return False
    folder.put(contents)
    return True


def _held(source: Path, specs: Mapping[str, RunSpec], name: str, console: Console) -> dict[str, Contents]:
    """The study's runs in a source, by key."""
    faults: list[str] = []
    if (source / "runs").is_dir():
        found, faults = _in_folder(source, specs)
    elif source.is_file():
        found = archive.archived_contents(source, specs)
    else:
        what = "holds no runs/" if source.is_dir() else "is not there"
        raise StoreError(
            f"a source must be a results folder or an archive that `hfbench export` wrote, but {source} {what}."
        )
    if not found:
        told = "".join(f" {fault}" for fault in faults[:1])
        raise StoreError(
            f"{source} holds none of the {len(specs)} runs of {name}, with these settings, data and version of hfbench."
            f"{told}"
        )
    for fault in faults:
        console.print(escape(fault), highlight=False, soft_wrap=True)
    return found


def _in_folder(source: Path, specs: Mapping[str, RunSpec]) -> tuple[dict[str, Contents], list[str]]:
    """The sound runs in a results folder, ended or under way, and a sentence for each that is damaged."""
    found: dict[str, Contents] = {}
    faults = []
    for key, spec in specs.items():
        folder = RunFolder(source, key)
        contents = folder.contents()
        if "config.json" not in contents.files and contents.ended is None:
            continue
        try:
            check_planned(key, contents.files, spec.config())
            found[key] = contents
        except StoreError as error:
            faults.append(f"{spec.name} is left out: {folder.path}: {error}")
    return found, faults
