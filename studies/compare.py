"""What is recorded of a study, judged and reported without running anything."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from hfbench.config import Study
from hfbench.errors import StoreError
from hfbench.lock import TakenError, study_lock
from hfbench.runspec import plan
from hfbench.store import prepare

from .jobs import Setting
from .log import Log
from .recorded import Recorded, gather
from .report import command_of, conclude, show
from .run import tracker_of
from .screen import unread_is_fine


def compare_study(study: Study, results: Path, data: str | None, console: Console, options: Sequence[str] = ()) -> int:
    """Statistics, figures and report of the runs that are recorded; says which are missing. Returns 0.

    `options` are those of the command line that decide which runs belong to the study. Raises StoreError if none of
    them is recorded, before anything is written. While another process runs the study, MLflow is left to that one.
    """
    results = Path(results)
    specs = {spec.key(): spec for spec in plan(study, data)}
    command = command_of(study, options)
    recorded = gather(study, specs, results)
    if not recorded.ended:
        raise StoreError(_nothing(recorded, command))
    prepare(results)
    with ExitStack() as held, unread_is_fine(console):
        console.print(_announcement(recorded), highlight=False, soft_wrap=True)
        tracker = None
        try:
            held.enter_context(study_lock(results, study.name, "hfbench compare"))
        except TakenError as taken:
            console.print(escape(f"MLflow is left to {taken.holder}."), highlight=False, soft_wrap=True)
        else:
            tracker = tracker_of(study, specs, results)
            log = Log(tracker, specs, Setting(results, study.name, data), console)
            for key in recorded.ended:  # the records may have been copied here, or logged under another study
                log.ended(key)
        show(conclude(recorded, tracker, command), console)
    return 0


def _nothing(recorded: Recorded, command: str) -> str:
    others = "".join(f" {sentence}" for sentence in recorded.others.sentences())
    return (
        f"none of the {len(recorded.specs)} runs of {recorded.study.name} is recorded in {recorded.results}, so there "
        f"is nothing to compare.{others} `{command}` runs them; --results names the folder of their records."
    )


def _announcement(recorded: Recorded) -> str:
    study, ended, total = recorded.study, len(recorded.ended), len(recorded.specs)
    return escape(f"{study.name}: {study.question}\n{ended} of {total} runs are recorded; nothing is run")
