"""`hfbench sweep`: tunes on seeds A, re-tests the best on seeds B, freezes one, and compares it on seeds C."""

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
from hfbench.config.sweep import Sweep, check_disjoint
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
from hfbench.records.recorded_study import gather
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.sqlite_url import check_database, sqlite_url
from hfbench.records.study_home import home_of, remember_asked, with_asked_seeds
from hfbench.sweep.carry_over import Cell, carry_over_matrix, frozen_study
from hfbench.sweep.conclusion import conclude_sweep, show_tuned
from hfbench.sweep.loop import retest, tune
from hfbench.sweep.mlflow_log import logged
from hfbench.sweep.outcome import TaskOutcome
from hfbench.sweep.progress import watching
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
) -> int:
    """Runs the missing trials, re-tests the best, freezes one, compares and reports.

    Returns 0, 1 if some runs of the comparison failed, 130 after Ctrl-C, or 143 after SIGTERM. The same command
    continues where it was interrupted. `storage` is an Optuna URL that replaces `<results>/sweeps.db`; several
    processes, each with its own results folder, may share it to work on one sweep. `options` are the command-line
    options, which the report repeats. `engine` makes the runs, or else `jobs` processes.

    The comparison is on the seeds that the study was last extended to, if `options` give no others.

    Raises HfbenchError before anything is run if the study has no sweep or cannot be run.
    """
    sweep = study.sweep
    if sweep is None:
        raise ConfigError(
            f"{study.name} has no [sweep] table, which says what to tune; `hfbench run` compares its methods."
        )
    results = Path(results)
    study = with_asked_seeds(study, results)
    _check_seeds(study, sweep)
    with signals_kept(), ignore_broken_pipe(console):
        try:
            tasks = [TuningTask(study, name, data) for name in sweep.tasks]
            first = [task.spec(task.first, sweep.seeds[0]) for task in tasks]
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
                return _sweep_all(study, tasks, pool, url, jobs, console, options)
        except KeyboardInterrupt as interrupt:
            return say_interrupted(interrupt, console.print)


def _check_seeds(study: Study, sweep: Sweep) -> None:
    """Raises ConfigError if seeds that the command line gave, now or before, are those of the tuning."""
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
        status, cells = _compare_frozen(study, found, folder, pool, jobs, console)
        conclude_sweep(study, found, cells, log, place, console, options)
    return status


def _trials(task: TuningTask, url: str, results: Path) -> Trials:
    name = f"{task.study.name}/{task.name}/{task.identity}"
    home = f"{socket.gethostname()}:{results.absolute()}"
    return Trials(url, name, results, home, len(task.sweep.objectives))


def _compare_frozen(
    study: Study,
    swept: Sequence[TaskOutcome],
    folder: Path,
    pool: Pool,
    jobs: int,
    console: Console,
) -> tuple[int, list[Cell]]:
    """Compares the frozen settings with the unchanged method on fresh seeds; gives the exit status and the matrix."""
    frozen = {outcome.task.name: outcome.frozen for outcome in swept if outcome.frozen is not None}
    if not frozen:
        console.print("With several objectives nothing is frozen or compared: choose from the front.")
        return 0, []
    drafted = frozen_study(study, frozen)
    if drafted is None:
        console.print("No trial was better than the unchanged method: there is nothing to compare.")
        return 0, []
    file = folder / "frozen.toml"
    write_bytes(file, toml(drafted, folder).encode())
    compared = load_study(str(file))
    results, data = pool.setting.results, pool.setting.data
    status = run_study(compared, results, jobs, data, console, engine=pool.engine)
    raise_if_interrupted()
    recorded = gather(compared, {spec.key(): spec for spec in runs_of(compared, data)}, results)
    assert study.sweep is not None
    return status, carry_over_matrix(recorded, study.sweep.method, study.sweep.tasks) if not recorded.missing else []
