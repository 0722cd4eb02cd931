"""Ordered parallel map over processes.

Each has one torch thread, as runs have: so answers do not depend on how many are asked at once, and a machine that does
other work as well is not brought to a crawl by threads that wait for one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console

from hfbench.errors import ConfigError
from hfbench.execution.part_shipping import AddedPart, has_loadable, loadable
from hfbench.execution.processes import Overdue, ProcessDied, Processes
from hfbench.interrupts import interruptible, raise_if_interrupted, signals_deferred
from hfbench.messages import count
from hfbench.parts import registry
from hfbench.runs.attempt import single_threaded

LOOK_EVERY = 0.1  # seconds between two looks at whether a signal came
KILLED = (
    "a process was killed from outside, and nothing is written; the usual cause is too little memory: give --jobs 1, "
    "or ask for less at once."
)


@dataclass(frozen=True)
class CallGuard:
    """What is done about a call that does not end by itself."""

    limits: Sequence[float]  # on the clock of each call, as of `Processes.submit`
    instead: Callable[[tuple[Any, ...], Exception], Any]  # the answer, given the call and how its process ended


def parallel_map(
    examine: Callable[..., Any],
    calls: Sequence[tuple[Any, ...]],
    jobs: int,
    console: Console,
    noun: str = "system",
    guard: CallGuard | None = None,
) -> Iterator[Any]:
    """examine(*call) for every call, in their order, so many at a time; with one, in this process.

    `examine` is a function of a module. Raises what it raises, and ConfigError for a process that died. With a guard no
    call can end this process where plugins have added parts: each has one of its own.
    """
    here = min(jobs, len(calls)) <= 1 and not (guard is not None and has_loadable())
    answers = _here(examine, calls) if here else _there(examine, calls, max(min(jobs, len(calls)), 1), guard)
    with console.status("") as status:
        for done in range(len(calls)):
            status.update(f"{done} of {count(len(calls), noun)} done")
            yield next(answers)


def _here(examine: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    for call in calls:
        with single_threaded(), interruptible():
            answer = examine(*call)
        yield answer


def _there(
    examine: Callable[..., Any], calls: Sequence[tuple[Any, ...]], jobs: int, guard: CallGuard | None
) -> Iterator[Any]:
    engine, asked = Processes(jobs), partial(_asked, loadable(registry.added().keys()), examine)
    limits = guard.limits if guard is not None else [math.inf] * len(calls)
    with signals_deferred():
        futures = [engine.submit(asked, *call, limit=limit) for call, limit in zip(calls, limits, strict=True)]
    try:
        for call, future in zip(calls, futures, strict=True):
            while not wait([future], LOOK_EVERY).done:
                raise_if_interrupted()
            try:
                answer = future.result()
            except (ProcessDied, Overdue) as error:
                if guard is None:
                    raise
                answer = guard.instead(call, error)
            yield answer
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
