"""What is found of each system, by processes of their own where several may run; told in the order of the systems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console

from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.studies.jobs import AddedPart, loadable
from hfbench.studies.words import count

KILLED = (
    "a process was killed from outside, and nothing is written; the usual cause is too little memory: give --jobs 1, "
    "or fewer systems."
)


def examined(
    examine: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int, console: Console
) -> Iterator[Any]:
    """examine(*call) for every call, in their order, so many at a time; with one, in this process.

    `examine` is a function of a module. Raises what it raises, and ConfigError for a process that died.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    jobs = min(jobs, len(calls))
    parts = loadable(registry.added().keys()) if jobs > 1 else []
    made = Parallel(n_jobs=jobs, return_as="generator")(delayed(_there)(parts, examine, call) for call in calls)
    with console.status("") as status:
        for done in range(len(calls)):
            status.update(f"{done} of {count(len(calls), 'system')} done")
            try:
                found = next(made)
            except BrokenProcessPool as error:
                raise ConfigError(KILLED) from error
            yield found


def _there(parts: Sequence[AddedPart], examine: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """In the process that looks."""
    for part in parts:
        if (part.family, part.name) not in registry.added():
            part.add()
    return examine(*call)
