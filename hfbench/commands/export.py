"""`hfbench export`: all records of a study in one file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.messages import count
from hfbench.records.archive import write_archive
from hfbench.records.recorded_study import gather
from hfbench.records.study_home import with_asked_seeds


def export_study(study: Study, results: Path, data: str | None, console: Console, file: Path) -> int:
    """Writes the recorded runs of a study to an archive. Returns 0. Raises StoreError if none is recorded.

    These are on the seeds that the study was last extended to, if `--seeds` gave no others.
    """
    study = with_asked_seeds(study, results)
    recorded = gather(study, {spec.key(): spec for spec in runs_of(study, data)}, Path(results))
    n = write_archive(recorded, file)
    for line in recorded.others.damaged():
        console.print(line, highlight=False, soft_wrap=True)
    if kept := sum(recorded.folder(key).has_weights() for key in recorded.ended):
        said = (
            f"The weights of {count(kept, 'run')} are left out: an archive has none. `hfbench import` takes them from"
        )
        console.print(f"{said} {results}.", highlight=False, soft_wrap=True)
    console.print(f"{n} of {len(recorded.specs)} runs of {study.name} written to {file}", soft_wrap=True)
    return 0
