"""Ordered parallel map over processes.

Each has one torch thread, as runs have: so answers do not depend on how many are asked at once, and a machine that does
other work as well is not brought to a crawl by threads that wait for one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from functools import partial
from typing import Any

from rich.console import Console

from hfbench.errors import ConfigError
from hfbench.execution.part_shipping import AddedPart, loadable
from hfbench.execution.processes import Processes
from hfbench.interrupts import interruptible, raise_if_interrupted, signals_deferred
from hfbench.messages import count
from hfbench.parts import registry
from hfbench.runs.attempt import single_threaded

LOOK_EVERY = 0.1  # seconds between two looks at whether a signal came
KILLED = (
    "a process was killed from outside, and nothing is written; the usual cause is too little memory: give --jobs 1, "
    "or ask for less at once."
)


def parallel_map(
    examine: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int, console: Console, noun: str = "system"
) -> Iterator[Any]:
    """examine(*call) for every call, in their order, so many at a time; with one, in this process.

    `examine` is a function of a module. Raises what it raises, and ConfigError for a process that died.
    """
    answers = _here(examine, calls) if min(jobs, len(calls)) <= 1 else _there(examine, calls, min(jobs, len(calls)))
    with console.status("") as status:
        for done in range(len(calls)):
            status.update(f"{done} of {count(len(calls), noun)} done")
            yield next(answers)


def _here(examine: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    for call in calls:
        with single_threaded(), interruptible():
            answer = examine(*call)
        yield answer


def _there(examine: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int) -> Iterator[Any]:
    engine, asked = Processes(jobs), partial(_asked, loadable(registry.added().keys()), examine)
    with signals_deferred():
        futures = [engine.submit(asked, *call) for call in calls]
    try:
        for future in futures:
            while not wait([future], LOOK_EVERY).done:
                raise_if_interrupted()
            yield future.result()
    except Exception as error:
        if engine.has_died(error):
            raise ConfigError(KILLED) from error
        raise
    finally:
        if not all(future.done() for future in futures):  # Ctrl-C, or one of them failed
            with signals_deferred():
                engine.stop()
        engine.close()


def _asked(parts: Sequence[AddedPart], examine: Callable[..., Any], *call: Any) -> Any:
    """In the process that answers."""
    registry.forget()  # parts of another question, for which this process was started
    for part in parts:
        part.add()
    with single_threaded():
        return examine(*call)
