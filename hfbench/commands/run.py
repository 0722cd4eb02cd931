"""`hfbench run`: checks a study, makes the missing runs, records them in MLflow, and reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from hfbench.config.devices import is_here
from hfbench.config.limit_advice import limit_advice
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.config.variant import seeds_remark
from hfbench.errors import ConfigError
from hfbench.execution.backends import Engine
from hfbench.execution.broken_pipe import ignore_broken_pipe
from hfbench.execution.part_shipping import added_parts
from hfbench.execution.pool import run_all
from hfbench.execution.preflight import missing_of, preflight
from hfbench.execution.progress import counting, progress
from hfbench.interrupts import raise_if_interrupted, say_interrupted, signals_kept
from hfbench.messages import count, wrap_text
from hfbench.records.files import prepare
from hfbench.records.locks import study_lock
from hfbench.records.recorded_study import gather, lacking_weights, set_aside
from hfbench.records.results_folder import CHECKPOINT_EVERY, ResultsFolder
from hfbench.records.run_folder import SET_ASIDE, RunFolder
from hfbench.records.shorter_runs import ShorterRuns
from hfbench.records.study_home import remember_asked, with_asked_seeds
from hfbench.report.conclusion import conclude, show_conclusion
from hfbench.report.mlflow_page import views_of, write_status
from hfbench.statistics.findings import up_to_decision
from hfbench.statistics.seed_advice import seed_advice
from hfbench.tracking.local_store import getting_ready
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.run_logger import RunLogger
from hfbench.tracking.study_tracker import tracker_of


def run_study(
    study: Study,
    results: Path,
    jobs: int,
    data: str | None,
    console: Console,
    options: Sequence[str] = (),
    checkpoint_every: float = CHECKPOINT_EVERY,
    engine: Engine | None = None,
    in_latex: bool = False,
    make_weights: bool = False,
) -> int:
    """Makes the runs that are not recorded yet, and reports on all of them.

    Returns 0, 1 if some runs failed, 130 after Ctrl-C, or 143 after SIGTERM.

    `options` are the command-line options that decide which runs belong to the study; the report repeats them. `engine`
    makes the runs, or else `jobs` processes on this machine. The same command may be given again at any time: complete
    runs are not repeated, interrupted runs continue, failed runs are tried again. More seeds than the study's file has
    are remembered. With `make_weights` the runs whose weights are missing are made again; their records are set aside.
    A closed stdout does no harm. Raises HfbenchError, before anything is written, if the study cannot
    be run, for example because another process is running it in the same folder.
    """
    results = Path(results)
    if make_weights and not study.keep_weights:
        raise ConfigError("--make-weights: keeps weights only with keep_weights = true in [study]; set it there.")
    with signals_kept(), ignore_broken_pipe(console):
        try:
            study = with_asked_seeds(study, results)
            specs = {spec.key(): spec for spec in runs_of(study, data)}
            missing = missing_of(specs, results) | (lacking_weights(specs, results) if make_weights else {})
            if jobs > 1 or engine is not None:
                added_parts(missing.values())
            if missing and engine is not None:
                engine.prepare()
            # The workers of a cluster may have a device that this machine has not: then they say what is wrong.
            here = [spec for spec in missing.values() if engine is None or is_here(spec.device)]
            with getting_ready(results):
                preflight(here, data, console, apart=jobs > 1 or engine is not None)
            prepare(results)
            setting = ResultsFolder(results, study.name, data, checkpoint_every, study.keep_weights)
            with study_lock(results, study.name, "hfbench run"):
                if make_weights:
                    _set_aside_without_weights(specs, results, console)
                return _run_all_and_conclude(study, specs, setting, jobs, console, options, engine, in_latex)
        except KeyboardInterrupt as interrupt:
            return say_interrupted(interrupt, console.print)


def _set_aside_without_weights(specs: Mapping[str, RunSpec], results: Path, console: Console) -> None:
    lacking = lacking_weights(specs, results)
    for key in lacking:
        RunFolder(results, key).set_aside()
    if lacking:
        said = f"{count(len(lacking), 'run')} without weights set aside in {results / SET_ASIDE}, and made again"
        console.print(said, highlight=False, soft_wrap=True)


def _run_all_and_conclude(
    study: Study,
    specs: Mapping[str, RunSpec],
    setting: ResultsFolder,
    jobs: int,
    console: Console,
    options: Sequence[str],
    engine: Engine | None,
    in_latex: bool,
) -> int:
    """The part of `run_study` that holds the study's lock. Its run in MLflow is ended, however it ends."""
    results = setting.results
    for line in set_aside(specs, results):
        console.print(line, highlight=False, soft_wrap=True)
    missing = missing_of(specs, results)  # who held the lock before may have run some
    remember_asked(study, results)
    raise_if_interrupted()
    tracker = tracker_of(study, specs, results)
    shorter = ShorterRuns(results)
    going_on = sum(shorter.of(spec) is not None for spec in missing.values())
    for line in _announcement(study, len(specs), len(missing), going_on, jobs):
        console.print(wrap_text(line, console.width, "  "), highlight=False, soft_wrap=True)
    for advice in limit_advice(study.primary, {spec.task: spec.budget for spec in specs.values()}):
        console.print(advice, highlight=False)
    for advice in seed_advice(study) if missing else ():
        console.print(advice, highlight=False)
    if missing:
        _say(tracker, study, f"Under way, {len(specs) - len(missing)} of {count(len(specs), 'run')} recorded")
    try:
        later = set(missing)
        for now in _look_by_look(study, missing):
            later = later - now.keys()
            seen = {key: spec for key, spec in specs.items() if key not in later}
            _carry_out(seen, now, setting, tracker, console, partial(run_all, now, setting, jobs, engine, shorter))
            recorded = up_to_decision(gather(study, specs, results))
            if len(recorded.specs) < len(specs):  # decided before the last look
                break
        conclusion = conclude(recorded, tracker, options, console, in_latex, jobs)
    except KeyboardInterrupt:
        _close(tracker, "KILLED")
        left = len(missing_of(specs, results))
        _say(tracker, study, f"Interrupted, {len(specs) - left} of {count(len(specs), 'run')} recorded")
        raise
    except BaseException:
        _close(tracker, "FAILED")
        _say(tracker, study, "Ended by an error")
        raise
    show_conclusion(conclusion, console)
    if spared := len(specs) - len(recorded.specs):
        said = f"Everything was decided at the look of {count(len(recorded.study.seeds), 'seed')}"
        console.print(f"{said}: {count(spared, 'run')} of later looks not made.", highlight=False, soft_wrap=True)
    return 1 if conclusion.failed else 0


def _look_by_look(study: Study, missing: Mapping[str, RunSpec]) -> Iterator[dict[str, RunSpec]]:
    """The missing runs up to each declared look, each once, then those after the last; all together without looks."""
    begun: set[str] = set()
    for look in (*study.looks, None):
        seeds = {(task, seed) for task, on_task in study.on.items() for seed in on_task.seeds[:look]}
        now = {key: spec for key, spec in missing.items() if (spec.task, spec.seed) in seeds and key not in begun}
        begun |= now.keys()
        if now or look is None:
            yield now


def _carry_out(
    specs: Mapping[str, RunSpec],
    missing: Mapping[str, RunSpec],
    setting: ResultsFolder,
    tracker: Tracker,
    console: Console,
    carried_out: Callable[[], Iterable[dict[str, Any]]],
) -> None:
    """Makes the missing runs and logs each when it ends, and a long one while it runs."""
    done = len(specs) - len(missing)
    log = RunLogger(tracker, specs, setting, console)
    with counting(console, "logging to MLflow", done) as logged:  # what ended before may be new to this study
        for now in log.recorded([key for key in specs if key not in missing]):
            logged(now)
            raise_if_interrupted()
    with log.follow(missing), progress(console, setting.results, missing, done, len(specs)) as report:
        for result in carried_out():
            report.ended(result)
            log.ended(result["key"])
            raise_if_interrupted()


def _close(tracker: Tracker, status: str) -> None:
    with suppress(Exception):  # the store may be what failed, and must not hide it
        tracker.close(status)


def _say(tracker: Tracker, study: Study, status: str) -> None:
    """What becomes of the study, above its runs."""
    with suppress(Exception):  # likewise
        write_status(tracker, study, status, views_of(tracker, study))


def _announcement(study: Study, total: int, missing: int, going_on: int, jobs: int) -> list[str]:
    sizes = {"method": len(study.methods), "task": len(study.tasks), "seed": len(study.seeds)}
    uniform = math.prod(sizes.values()) == total  # no task has methods or seeds of its own
    product = " x ".join(count(n, name) for name, n in sizes.items() if uniform or name != "seed")
    already = f", {total - missing} recorded already" if missing < total else ""
    begun = f", {going_on} made with a smaller budget so far" if going_on else ""
    now = f", {min(jobs, missing)} at a time" if missing else ""
    runs = f"{product}{' =' if uniform else ':'} {count(total, 'run')}{already}{begun}{now}"
    seeds = [f"seeds {seeds_remark(study.variant)}"] if study.variant.remembered else []
    return [f"{study.name}: {study.question}", runs, *seeds]
