"""The same question asked of many things, by processes of their own where several may run; answers in order.

Each has one torch thread, as runs have: so answers do not depend on how many are asked at once, and a machine that does
other work as well is not brought to a crawl by threads that wait for one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console

from hfbench import registry
from hfbench.errors import ConfigError

from .jobs import AddedPart, loadable
from .words import count

KILLED = (
    "a process was killed from outside, and nothing is written; the usual cause is too little memory: give --jobs 1, "
    "or ask for less at once."
)


def examined(
    examine: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int, console: Console, noun: str = "system"
) -> Iterator[Any]:
    """examine(*call) for every call, in their order, so many at a time; with one, in this process.

    `examine` is a function of a module. Raises what it raises, and ConfigError for a process that died.
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool

    if not calls:
        return
    jobs = min(jobs, len(calls))
    parts = loadable(registry.added().keys()) if jobs > 1 else []
    made = Parallel(n_jobs=jobs, return_as="generator")(delayed(_there)(parts, examine, call) for call in calls)
    with console.status("") as status:
        for done in range(len(calls)):
            status.update(f"{done} of {count(len(calls), noun)} done")
            try:
                found = next(made)
            except BrokenProcessPool as error:
                raise ConfigError(KILLED) from error
            yield found


def _there(parts: Sequence[AddedPart], examine: Callable[..., Any], call: tuple[Any, ...]) -> Any:
    """In the process that looks."""
    from hfbench.experiment import one_thread

    for part in parts:
        if (part.family, part.name) not in registry.added():
            part.add()
    with one_thread():
        return examine(*call)
