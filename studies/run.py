"""A whole study: check, run what is missing, record in MLflow, and say what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from hfbench import registry
from hfbench.config import Study
from hfbench.data import locate
from hfbench.runspec import RunSpec, plan
from hfbench.store import RunFolder, prepare
from hfbench.tracking import Tracker, flat_params, varied

from .jobs import Setting, added_parts, run_all
from .progress import progress
from .report import conclude

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


def run_study(
    study: Study,
    results: Path,
    jobs: int,
    data: str | None,
    console: Console,
    checkpoint_every: float = 2.0,
) -> int:
    """Runs what is not recorded yet and reports on all of it. Returns 0; 1 if some runs failed; 130 on Ctrl-C.

    The same command may be given again at any time: complete runs are not repeated, interrupted ones continue, failed
    ones are tried anew. Raises HfbenchError before anything is written if the study cannot be run.
    """
    results = Path(results)
    specs = {spec.key(): spec for spec in plan(study, data)}
    folders = {key: RunFolder(results, key) for key in specs}
    missing = {key: spec for key, spec in specs.items() if not folders[key].is_complete()}
    if jobs > 1:
        added_parts(missing.values())
    preflight(missing.values(), data)
    prepare(results)
    tracker = Tracker(results, study.name, study_key(study, specs), study.question)
    console.print(_announcement(study, len(specs), len(missing), jobs), highlight=False, soft_wrap=True)
    log = Log(tracker, specs, folders, console)
    try:
        log.recorded(key for key in specs if key not in missing)
        with progress(console, results, missing, len(specs) - len(missing), len(specs)) as report:
            for result in run_all(missing, Setting(results, study.name, data, checkpoint_every), jobs):
                report.ended(result)
                log.ended(result["key"])
        return conclude(study, specs, results, tracker, console)
    except KeyboardInterrupt:
        tracker.close("KILLED")
        console.print("Interrupted. The same command goes on where it stopped.")
        return INTERRUPTED
    except BaseException:
        tracker.close("FAILED")
        raise


def study_key(study: Study, keys: Mapping[str, RunSpec]) -> str:
    """The identity of a set of runs: another seed, setting or version of the code makes another one."""
    return hashlib.sha256("/".join([study.name, *sorted(keys)]).encode()).hexdigest()[:16]


def preflight(specs: Any, data: str | None) -> None:
    """Raises what would stop each method on each task at its first seed, before any run is begun.

    DataError for missing files, ConfigError for a batch larger than the data, NonFiniteError for a model whose outputs
    are not finite.
    """
    first: dict[tuple[str, str], RunSpec] = {}
    for spec in specs:
        first.setdefault((spec.task, spec.method.name), spec)
    for spec in first.values():
        for file in registry.get("task", spec.task_settings["use"]).files:
            if not file.optional:
                locate(file, data)
    by_task: dict[str, list[RunSpec]] = {}
    for spec in first.values():
        by_task.setdefault(spec.task, []).append(spec)
    for of_task in by_task.values():
        _check_first_runs(of_task, data)


def _check_first_runs(specs: Sequence[RunSpec], data: str | None) -> None:
    from hfbench.assembly import load
    from hfbench.experiment import LiveRun, one_thread

    loaded = load(specs[0], data)
    with one_thread():
        for spec in specs:
            live = LiveRun(spec, loaded)
            if spec is specs[0]:  # all methods of a seed begin with the same weights
                live.begin()


class Log:
    """Logs ended runs to MLflow; what fails to be logged is logged by the next invocation."""

    def __init__(
        self, tracker: Tracker, specs: Mapping[str, RunSpec], folders: Mapping[str, RunFolder], console: Console
    ) -> None:
        configs = {key: spec.config() for key, spec in specs.items()}
        kept = varied(configs.values())
        self.params = {
            key: {name: value for name, value in flat_params(config).items() if name in kept}
            for key, config in configs.items()
        }
        self.tracker, self.folders, self.console = tracker, folders, console
        self.children = tracker.logged()

    def recorded(self, keys: Any) -> None:
        """Runs that had ended before: those not logged under this study yet."""
        for key in keys:
            self.ended(key)

    def ended(self, key: str) -> None:
        try:
            self.tracker.log_run(self.folders[key], self.params[key], self.children.get(key))
        except Exception as error:  # the record on disk is complete: a busy or unreachable store must not end the study
            self.console.print(escape(f"{key} is recorded but not in MLflow yet: {type(error).__name__}: {error}"))


def _announcement(study: Study, total: int, missing: int, jobs: int) -> str:
    sizes = (("method", study.methods), ("task", study.tasks), ("seed", study.seeds))
    product = " x ".join(f"{len(of)} {name}{'s' * (len(of) > 1)}" for name, of in sizes)
    already = f", {total - missing} recorded already" if missing < total else ""
    now = f", {min(jobs, missing)} at a time" if missing else ""
    return escape(f"{study.name}: {study.question}\n{product} = {total} runs{already}{now}")
