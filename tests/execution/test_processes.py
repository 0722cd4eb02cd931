"""Processes: a fresh one for each call, which costs that call alone when it dies or does not return."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from hfbench.execution import processes
from hfbench.execution.processes import Overdue, ProcessDied, Processes
from hfbench.runs.meters import Stopwatch


@pytest.fixture(scope="module")
def engine() -> Iterator[Processes]:
    with closing(Processes(2)) as engine:
        yield engine


def answer(future: Future[Any]) -> Any:
    return future.result(timeout=60)


def spoil() -> tuple[str, int]:
    before = str(torch.get_default_dtype())
    torch.set_default_dtype(torch.float64)
    return before, os.getpid()


def test_each_call_has_a_process_of_its_own(engine: Processes) -> None:
    answers = [answer(engine.submit(spoil)) for _ in range(3)]
    assert {dtype for dtype, _ in answers} == {"torch.float32"}
    assert len({process for _, process in answers} | {os.getpid()}) == 4


def test_the_environment_is_that_of_the_moment(engine: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(engine.submit(os.getenv, "HFBENCH_TEST_LOG")) is None
    monkeypatch.setenv("HFBENCH_TEST_LOG", "here")
    assert answer(engine.submit(os.getenv, "HFBENCH_TEST_LOG")) == "here"
    assert answer(engine.submit(os.getenv, "OMP_NUM_THREADS")) == "1"


class Odd(BaseException):
    pass


def odd() -> None:
    raise Odd("so")


def exits() -> None:
    raise SystemExit(0)


def test_what_a_call_raises_is_raised(engine: Processes) -> None:
    with pytest.raises(Odd, match="so"):
        answer(engine.submit(odd))
    with pytest.raises(SystemExit):
        answer(engine.submit(exits))


@pytest.mark.parametrize(
    ("function", "given", "status", "said"),
    [
        (os._exit, 0, 0, "it exited with status 0"),
        (os._exit, 3, 3, "it exited with status 3"),
        (signal.raise_signal, signal.SIGSEGV, -signal.SIGSEGV, r"it was ended by signal 11 \(SIGSEGV\)"),
        (signal.raise_signal, signal.SIGKILL, -signal.SIGKILL, r"it was ended by signal 9 \(SIGKILL\)"),
    ],
)
def test_a_process_that_dies_says_how_and_takes_no_other_with_it(
    engine: Processes, function: Any, given: int, status: int, said: str
) -> None:
    beside = engine.submit(time.sleep, 0.5)
    with pytest.raises(ProcessDied, match=said) as died:
        answer(engine.submit(function, given))
    assert died.value.status == status
    assert answer(beside) is None


def stuck(on_the_clock: bool) -> str:
    if not on_the_clock:
        time.sleep(1.5)
        return "returned"
    with Stopwatch(1.0):
        time.sleep(600)
    return "never"


def test_a_call_that_runs_far_beyond_its_limit_is_ended(engine: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "BEYOND", (2.0, 0.5))
    began = time.monotonic()
    with pytest.raises(Overdue, match=r"ended at 1\.\d+ seconds on the clock, which has a limit of 0.4") as overdue:
        answer(engine.submit(stuck, True, limit=0.4))
    assert 1.3 < overdue.value.seconds < 1.3 + time.monotonic() - began
    assert answer(engine.submit(stuck, False, limit=0.01)) == "returned", "what is not on the clock has no limit"
    assert answer(engine.submit(stuck, False, limit=math.inf)) == "returned"


def test_stopping_ends_calls_under_way_and_those_that_wait() -> None:
    engine = Processes(1)
    futures = [engine.submit(time.sleep, 600), engine.submit(time.sleep, 600)]
    while not (children := psutil.Process().children(recursive=True)) or not engine._running:
        time.sleep(0.02)
    engine.stop()
    assert all(future.done() for future in futures)
    _, alive = psutil.wait_procs([child for child in children if "forkserver" not in " ".join(cmdline(child))], 10)
    assert not [child for child in alive if child.ppid() != os.getpid()]
    assert answer(engine.submit(abs, -1)) == 1, "it can be used again"
    engine.close()


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_a_call_that_cannot_be_sent_back_says_so(engine: Processes) -> None:
    with pytest.raises(RuntimeError, match="generator cannot be sent: TypeError"):
        answer(engine.submit(iterate, 3))


def iterate(n: int) -> Iterator[int]:
    yield from range(n)


def test_the_working_folder_is_that_of_the_moment(
    engine: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(engine.submit(abs, -1))
    monkeypatch.chdir(tmp_path)
    assert answer(engine.submit(os.getcwd)) == str(tmp_path)
