"""`hfbench compare`: judges and reports the records of a study; runs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.config.variant import seeds_remark
from hfbench.errors import StoreError
from hfbench.execution.broken_pipe import ignore_broken_pipe
from hfbench.execution.progress import counting
from hfbench.interrupts import raise_if_interrupted
from hfbench.records import archive
from hfbench.records.files import prepare
from hfbench.records.locks import TakenError, study_lock
from hfbench.records.recorded_study import RecordedStudy, gather
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.study_home import remember_asked, with_asked_seeds
from hfbench.report.conclusion import command_of, conclude, show_conclusion
from hfbench.statistics.findings import up_to_decision
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.run_logger import RunLogger
from hfbench.tracking.study_tracker import tracker_of

PUBLISHED = Path("published")  # in place of a file: the records that come with hfbench


def compare_study(
    study: Study,
    results: Path,
    data: str | None,
    console: Console,
    options: Sequence[str] = (),
    archive_file: Path | None = None,
    in_latex: bool = False,
) -> int:
    """Writes statistics, figures and report of the recorded runs, and lists the missing ones. Returns 0.

    `options` are the command-line options that decide which runs belong to the study. The runs come from, in order:
    `archive_file` if it is given (PUBLISHED is the archive that comes with hfbench), `results`, the published archive.
    Those of `results` are on the seeds that the study was last extended to, if `options` give no others.
    Raises StoreError, before a report is written, if there is nothing to compare. While another process runs the study,
    only that process writes to MLflow.
    """
    results = Path(results)
    study = study if archive_file is not None else with_asked_seeds(study, results)
    recorded = recorded_runs(study, results, data, archive_file, console)
    if not recorded.ended:
        raise StoreError(nothing_recorded(recorded, command_of(study, options, results)))
    prepare(results)
    if recorded.records == results:
        remember_asked(study, results)
    with ExitStack() as held, ignore_broken_pipe(console):
        console.print(_announcement(recorded), highlight=False, soft_wrap=True)
        tracker = _tracked(recorded, data, held, console)
        show_conclusion(conclude(up_to_decision(recorded), tracker, options, console, in_latex), console)
    return 0


def _tracked(recorded: RecordedStudy, data: str | None, held: ExitStack, console: Console) -> Tracker | None:
    """The study's tracker in MLflow, with every recorded run logged; None while another process runs the study."""
    study, results = recorded.study, recorded.results
    try:
        held.enter_context(study_lock(results, study.name, "hfbench compare"))
    except TakenError as taken:
        console.print(f"MLflow is left to {taken.holder}.", highlight=False, soft_wrap=True)
        return None
    tracker = tracker_of(study, recorded.specs, results, recorded.archive)
    log = RunLogger(tracker, recorded.specs, ResultsFolder(recorded.records, study.name, data), console)
    # The records may have been copied here, or logged under another study.
    with counting(console, "logging to MLflow", len(recorded.ended)) as logged:
        for done in log.recorded(list(recorded.ended)):
            logged(done)
            raise_if_interrupted()
    return tracker


def recorded_runs(
    study: Study, results: Path, data: str | None, archive_file: Path | None, console: Console
) -> RecordedStudy:
    """The study's runs in `results`, or those of the archive (PUBLISHED or a file), unpacked there."""
    specs = {spec.key(): spec for spec in runs_of(study, data)}
    with counting(console, "reading the records", len(specs)) as read:
        recorded = gather(study, specs, results, report=read)
    wanted = archive_file == PUBLISHED or (archive_file is None and not recorded.ended)
    file = archive.published(study.name) if wanted else archive_file
    if file is None:
        if archive_file == PUBLISHED:
            raise StoreError(f"no records of {study.name} are published with hfbench; --from names a file of them.")
        return recorded
    folder, held = archive.unpack(file, study.name, specs, results)
    return gather(study, held, results, folder)


def nothing_recorded(recorded: RecordedStudy, command: str) -> str:
    others = "".join(f" {sentence}" for sentence in recorded.others.sentences())
    return (
        f"none of the {len(recorded.specs)} runs of {recorded.study.name} is recorded in {recorded.records}, so there "
        f"is nothing to compare.{others} `{command}` runs them; --results names the folder of their records."
    )


def _announcement(recorded: RecordedStudy) -> str:
    study, ended, total = recorded.study, len(recorded.ended), len(recorded.specs)
    here = recorded.records == recorded.results
    archived = "" if here else " in the archive, none made here"
    said = f"{study.name}: {study.question}\n{ended} of {total} runs are recorded{archived}; nothing is run"
    said += f"\nseeds {seeds_remark(study.variant)}" if study.variant.remembered else ""
    if here and recorded.missing and archive.published(study.name) is not None:
        said += f"\nThere are published runs of {study.name} as well: `--from published` judges those."
    return said
