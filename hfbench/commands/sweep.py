"""`hfbench sweep`: tunes methods on seeds A, re-tests the best on B, freezes one of each, and compares on seeds C."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from hfbench.commands.run import run_study
from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.config.sweep import check_disjoint
from hfbench.config.to_toml import toml
from hfbench.config.variant import seeds_remark
from hfbench.errors import ConfigError
from hfbench.execution.backends import Engine
from hfbench.execution.broken_pipe import ignore_broken_pipe
from hfbench.execution.part_shipping import added_parts
from hfbench.execution.pool import Pool
from hfbench.execution.preflight import preflight
from hfbench.interrupts import raise_if_interrupted, say_interrupted, signals_kept
from hfbench.records.files import make_folder, prepare, write_bytes
from hfbench.records.locks import study_lock
from hfbench.records.recorded_study import RecordedStudy, gather
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.sqlite_url import check_database, sqlite_url
from hfbench.records.study_home import home_of, remember_asked, with_asked_seeds
from hfbench.report.headline import headline
from hfbench.statistics.comparisons import Comparison
from hfbench.statistics.findings import findings_of
from hfbench.sweep.carry_over import Cell, carry_over_matrix
from hfbench.sweep.conclusion import conclude_sweep, show_tuned
from hfbench.sweep.frozen_studies import carry_over_study, tuned_study
from hfbench.sweep.loop import retest, tune
from hfbench.sweep.mlflow_log import logged
from hfbench.sweep.outcome import Compared, TaskOutcome
from hfbench.sweep.progress import watching
from hfbench.sweep.retest import Winner
from hfbench.sweep.trials import Trials
from hfbench.sweep.tuning import Tuning, TuningTask


def sweep_study(
    study: Study,
    results: Path,
    jobs: int,
    data: str | None,
    console: Console,
    storage: str | None = None,
    options: Sequence[str] = (),
    engine: Engine | None = None,
    in_latex: bool = False,
) -> int:
    """Runs the missing trials, re-tests the best, freezes one, compares and reports.

    Returns 0, 1 if some runs of the comparison failed, 130 after Ctrl-C, or 143 after SIGTERM. The same command
    continues where it was interrupted. `storage` is an Optuna URL that replaces `<results>/sweeps.db`; several
    processes, each with its own results folder, may share it to work on one sweep. `options` are the command-line
    options, which the report repeats. `engine` makes the runs, or else `jobs` processes.

    The comparison is on the seeds that the study was last extended to, if `options` give no others.

    Raises HfbenchError before anything is run if the study has no sweep or cannot be run.
    """
    if not study.sweeps:
        raise ConfigError(
            f"{study.name} has no [sweep] table, which says what to tune; `hfbench run` compares its methods."
        )
    results = Path(results)
    study = with_asked_seeds(study, results)
    _check_seeds(study)
    with signals_kept(), ignore_broken_pipe(console):
        try:
            tasks = tuning_tasks(study, data)
            first = [task.spec(task.first, task.sweep.seeds[0]) for task in tasks]
            if jobs > 1 or engine is not None:
                added_parts(first)
            preflight(first, data, console, apart=jobs > 1 or engine is not None)
            prepare(results)
            with (
                study_lock(results, study.name, "hfbench sweep"),
                Pool(ResultsFolder(results, study.name, data), jobs, engine) as pool,
            ):
                if storage is None:
                    check_database(results / "sweeps.db", results)
                url = storage or sqlite_url(results / "sweeps.db")
                return _sweep_all(study, tasks, pool, url, jobs, console, options, in_latex)
        except KeyboardInterrupt as interrupt:
            return say_interrupted(interrupt, console.print)


def tuning_tasks(study: Study, data: str | None) -> list[TuningTask]:
    """What is tuned: each method on each task that it runs on. Raises ConfigError for a method without a task."""
    found = [
        TuningTask(study, sweep, name, data)
        for name in study.sweeps[0].tasks
        for sweep in study.sweeps
        if sweep.method in study.on[name].methods
    ]
    for sweep in study.sweeps:
        if not any(task.sweep is sweep for task in found):
            raise ConfigError(
                f"sweep.tasks: {sweep.method} must run on one of them, but on.<task>.methods leaves it out of "
                f"{', '.join(sweep.tasks)}."
            )
    return found


def _check_seeds(study: Study) -> None:
    """Raises ConfigError if seeds that the command line gave, now or before, are those of the tuning."""
    sweep = study.sweeps[0]  # all have the same
    try:
        check_disjoint(sweep.seeds, sweep.retest, {task: on_task.seeds for task, on_task in study.on.items()})
    except ConfigError as error:
        raise ConfigError(f"{error} Compared are {seeds_remark(study.variant)}. --seeds gives others.") from None


def _sweep_all(
    study: Study,
    tasks: Sequence[TuningTask],
    pool: Pool,
    url: str,
    jobs: int,
    console: Console,
    options: Sequence[str],
    in_latex: bool,
) -> int:
    """The part of `sweep_study` that holds the study's lock."""
    results = pool.setting.results
    remember_asked(study, results)
    place = home_of(study, results)
    if study.variant.remembered:
        console.print(f"{study.name}: seeds {seeds_remark(study.variant)}", highlight=False, soft_wrap=True)
    with ExitStack() as stack:
        raise_if_interrupted()
        opened = [stack.enter_context(_trials(task, url, results)) for task in tasks]
        raise_if_interrupted()
        log = stack.enter_context(logged(study, tasks, place, results, console))
        tunings = [Tuning(task, trials) for task, trials in zip(tasks, opened, strict=True)]
        with watching(console, tunings) as watcher:
            tune(tunings, pool, watcher, log)
            found = [retest(tuning, pool, watcher) for tuning in tunings]
        folder = make_folder(place.folder, results)
        show_tuned(found, log, console)
        compared = _compare_frozen(study, found, folder, pool, jobs, console, in_latex)
        conclude_sweep(study, found, compared, log, place, console, options, in_latex)
    return compared.status


def _trials(task: TuningTask, url: str, results: Path) -> Trials:
    name = f"{task.study.name}/{task.label}/{task.identity}"
    home = f"{socket.gethostname()}:{results.absolute()}"
    return Trials(url, name, results, home, len(task.sweep.objectives))


def _compare_frozen(
    study: Study,
    swept: Sequence[TaskOutcome],
    folder: Path,
    pool: Pool,
    jobs: int,
    console: Console,
    in_latex: bool,
) -> Compared:
    """Compares the frozen settings on fresh seeds: of several methods with each other, and of each as carry-over."""
    frozen: dict[str, dict[str, Winner]] = {sweep.method: {} for sweep in study.sweeps}
    for outcome in swept:
        if outcome.frozen is None:
            console.print("With several objectives nothing is frozen or compared: choose from the front.")
            return Compared()
        frozen[outcome.task.method.name][outcome.task.name] = outcome.frozen
    statuses, cells = [0], list[Cell]()
    tuned, said = list[Comparison](), None
    if len(study.sweeps) > 1:
        status, recorded = _run_frozen(
            tuned_study(study, frozen), folder / "frozen.toml", pool, jobs, console, in_latex
        )
        statuses.append(status)
        found = findings_of(recorded)
        tuned, said = list(found.comparisons), headline(recorded, found)
    for sweep in study.sweeps:
        if not sweep.carry_over:
            continue
        drafted = carry_over_study(study, sweep, frozen[sweep.method])
        if drafted is None:
            console.print(f"No trial was better than {sweep.method} unchanged: there is nothing to compare.")
            continue
        file = folder / ("frozen.toml" if len(study.sweeps) == 1 else f"frozen-{sweep.method}.toml")
        status, recorded = _run_frozen(drafted, file, pool, jobs, console, in_latex)
        statuses.append(status)
        cells += carry_over_matrix(recorded, sweep.method, sweep.tasks) if not recorded.missing else []
    return Compared(max(statuses), tuned, said, cells)


def _run_frozen(
    drafted: Study, file: Path, pool: Pool, jobs: int, console: Console, in_latex: bool
) -> tuple[int, RecordedStudy]:
    """Writes the study to the file, makes its runs, and gives the exit status and what is recorded."""
    write_bytes(file, toml(drafted, file.parent).encode())
    compared = load_study(str(file))
    results, data = pool.setting.results, pool.setting.data
    status = run_study(compared, results, jobs, data, console, engine=pool.engine, in_latex=in_latex)
    raise_if_interrupted()
    return status, gather(compared, {spec.key(): spec for spec in runs_of(compared, data)}, results)
