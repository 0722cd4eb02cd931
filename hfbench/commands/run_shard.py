"""`hfbench run --shard`: makes one share of a study's runs, independently of the other shares, and only records them.

A shard has whole blocks of a task and a seed. All methods of a pair then run on one machine, so that their seconds
can be compared and a method that replays another's batches finds them. A shard writes nothing to MLflow; `hfbench
import` does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.execution.backends import Engine
from hfbench.execution.broken_pipe import ignore_broken_pipe
from hfbench.execution.part_shipping import added_parts
from hfbench.execution.pool import run_all
from hfbench.execution.preflight import missing_of, preflight
from hfbench.execution.progress import progress
from hfbench.interrupts import raise_if_interrupted, say_interrupted, signals_kept
from hfbench.messages import count, quoted
from hfbench.records.files import prepare
from hfbench.records.locks import study_lock
from hfbench.records.recorded_study import set_aside
from hfbench.records.results_folder import CHECKPOINT_EVERY, ResultsFolder
from hfbench.records.study_home import remember_asked, with_asked_seeds
from hfbench.report.conclusion import command_of


@dataclass(frozen=True)
class Shard:
    """The i-th of n."""

    i: int
    n: int

    def __str__(self) -> str:
        return f"{self.i}/{self.n}"

    def of(self, specs: Mapping[str, RunSpec]) -> dict[str, RunSpec]:
        """The i-th block of a task and a seed, the (i + n)-th, and so on."""
        blocks = {block: index for index, block in enumerate(dict.fromkeys(map(_block, specs.values())))}
        return {key: spec for key, spec in specs.items() if blocks[_block(spec)] % self.n == self.i - 1}


def shard_of(given: str) -> Shard:
    """`2/4`. Raises ConfigError for anything else."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", given)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.i <= shard.n:
        raise ConfigError(f"--shard: must be i/n with i from 1 to n, such as 1/4, but got {quoted(given)}.")
    return shard


def _block(spec: RunSpec) -> tuple[str, int]:
    return spec.task, spec.seed


def run_shard(
    study: Study,
    shard: Shard,
    results: Path,
    jobs: int,
    data: str | None,
    console: Console,
    options: Sequence[str] = (),
    checkpoint_every: float = CHECKPOINT_EVERY,
    engine: Engine | None = None,
) -> int:
    """Makes the shard's runs that are not recorded yet. Returns as `hfbench.commands.run.run_study` does.

    `options` are the command-line options that decide which runs belong to the study.
    """
    with signals_kept(), ignore_broken_pipe(console):
        try:
            study = with_asked_seeds(study, results)
            specs = {spec.key(): spec for spec in runs_of(study, data)}
            mine = shard.of(specs)
            missing = missing_of(mine, results)
            if jobs > 1 or engine is not None:
                added_parts(missing.values())
            preflight(missing.values(), data, console, apart=jobs > 1 or engine is not None)
            prepare(results)
            setting = ResultsFolder(results, study.name, data, checkpoint_every, study.keep_weights)
            with study_lock(results, f"{study.name}.shard-{shard.i}-of-{shard.n}", f"hfbench run --shard {shard}"):
                remember_asked(study, results)
                already = f", {len(mine) - len(missing)} recorded already" if len(missing) < len(mine) else ""
                said = f"{study.name}, shard {shard}: {len(mine)} of {count(len(specs), 'run')}{already}"
                console.print(said, highlight=False, soft_wrap=True)
                for line in set_aside(missing, results):
                    console.print(line, highlight=False, soft_wrap=True)
                failed = _run_and_count_failures(missing, len(mine), setting, jobs, engine, console)
        except KeyboardInterrupt as interrupt:
            return say_interrupted(interrupt, console.print)
        console.print(_gathering(study, results, options), highlight=False, soft_wrap=True)
    return 1 if failed else 0


def _run_and_count_failures(
    missing: Mapping[str, RunSpec],
    total: int,
    setting: ResultsFolder,
    jobs: int,
    engine: Engine | None,
    console: Console,
) -> int:
    failed = 0
    with progress(console, setting.results, missing, total - len(missing), total) as bars:
        for result in run_all(missing, setting, jobs, engine):
            failed += result["outcome"] == "failed"
            bars.ended(result)
            raise_if_interrupted()
    return failed


def _gathering(study: Study, results: Path, options: Sequence[str]) -> str:
    """The commands that bring the records of all shards together."""

    def command(*folders: str, to: str) -> str:
        return command_of(study, [*folders, *options], Path(to)).replace("hfbench run", "hfbench import", 1)

    return (
        f"When all shards have run, in this folder:\n  {command(to=str(results))}\n"
        f"or each in a folder of its own:\n  {command(str(results), '...', to='all')}"
    )
