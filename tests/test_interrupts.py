"""Ctrl-C and SIGTERM: kept until a safe moment, raised at once where that is safe, never lost."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from hfbench import interrupts
from hfbench.interrupts import (
    Terminated,
    interruptible,
    raise_if_interrupted,
    say_interrupted,
    signals_deferred,
    signals_kept,
)

SAYS_WHEN_IT_SLEEPS = "import time; print('here', flush=True); time.sleep(60)"
BOTH = pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])


@pytest.fixture(autouse=True)
def _as_from_a_terminal() -> Iterator[None]:
    """What was begun in the background of a shell has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------- kept


@BOTH
def test_a_signal_waits_until_it_is_asked_for(number: int, raised: type[BaseException]) -> None:
    done: list[str] = []

    def work() -> None:
        with signals_kept():
            signal.raise_signal(number)
            done.append("the piece of work")
            raise_if_interrupted()
            done.append("more")

    with pytest.raises(raised):
        work()
    assert done == ["the piece of work"]


def test_a_signal_that_nobody_asked_for_is_sent_again() -> None:
    done: list[str] = []

    def work() -> None:
        with signals_kept():
            signal.raise_signal(signal.SIGINT)
            done.append("the block")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the block"]


def test_handlers_and_hook_are_afterwards_what_they_were() -> None:
    def state() -> list[Any]:
        return [signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM), sys.unraisablehook]

    before = state()
    with signals_kept():
        assert state()[0] != before[0]
        with signals_kept():
            pass
        assert state()[0] != before[0], "the inner block is not the one that keeps them"
    assert state() == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals_kept():
        signal.raise_signal(signal.SIGINT)
        raise_if_interrupted()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


# ---------------------------------------------------------------- raised at once


@BOTH
def test_in_an_interruptible_block_it_raises_at_once(number: int, raised: type[BaseException]) -> None:
    done: list[str] = []

    def work() -> None:
        with signals_kept(), interruptible():
            signal.raise_signal(number)
            done.append("more")

    with pytest.raises(raised):
        work()
    assert done == []


def drop() -> None:
    """As some libraries do when they are imported."""
    with suppress(BaseException):
        signal.raise_signal(signal.SIGINT)


def turn_into_another() -> None:
    """As Python 3.11 does with any exception that a class has raised while it was made."""

    class Signals:
        def __set_name__(self, owner: type, name: str) -> None:
            signal.raise_signal(signal.SIGINT)

    type("Owner", (), {"attribute": Signals()})


@pytest.mark.parametrize("swallow", [drop, turn_into_another])
def test_what_the_block_made_of_it_does_not_count(swallow: Any) -> None:
    def work() -> None:
        with signals_kept(), interruptible():
            swallow()

    with pytest.raises(KeyboardInterrupt):
        work()


def test_a_block_is_not_begun_after_a_signal() -> None:
    done: list[str] = []

    def work() -> None:
        with signals_kept():
            signal.raise_signal(signal.SIGTERM)
            with interruptible():
                done.append("the block")

    with pytest.raises(Terminated):
        work()
    assert done == []


def test_an_exception_of_its_own_passes() -> None:
    with pytest.raises(ZeroDivisionError), signals_kept(), interruptible():
        _ = 1 / 0


def test_a_destructor_that_drops_it_prints_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)

    class Interrupted:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    class Broken:
        def __del__(self) -> None:
            raise ValueError

    def work() -> None:
        with signals_kept(), interruptible():
            Broken()
            Interrupted()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert [one.exc_type for one in reported] == [ValueError]


# ---------------------------------------------------------------- more than one


def test_another_signal_at_once_is_the_same_and_a_later_one_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def work() -> None:
        with signals_kept():
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            done.append("what must be whole")
            monkeypatch.setattr(interrupts, "ECHO", -1.0)
            signal.raise_signal(signal.SIGINT)
            done.append("more")

    with pytest.raises(Terminated):
        work()
    assert done == ["what must be whole"]


OWN = """
import signal, sys, time
import hfbench.interrupts as interrupts
signal.signal(signal.SIGINT, signal.default_int_handler)
interrupts.keep_signals("Ended.")
interrupts.ECHO = float(sys.argv[1])
if "over" in sys.argv:
    interrupts.leave_to_its_end()
print("here", flush=True)
for _ in range(100):
    time.sleep(0.05)
"""


def signalled(*numbers: int, echo: float = 60.0, over: bool = False) -> tuple[int, str, str]:
    """Status and output of a process of our own that gets the signals, half a second apart, and ends after five."""
    words = [str(echo), *(["over"] if over else [])]
    process = subprocess.Popen([sys.executable, "-c", OWN, *words], stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    for number in numbers:
        assert process.poll() is None
        process.send_signal(number)
        time.sleep(0.5)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_command_ends_at_once_at_the_second_signal(number: int, status: int) -> None:
    assert signalled(number, signal.SIGINT, echo=0.0) == (status, "", "Ended.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_does_not_end_within_a_second_says_that_it_is_stopping(number: int) -> None:
    assert signalled(number) == (0, "", "Stopping… Another Ctrl-C ends it at once.\n")


def test_a_command_whose_work_is_over_ends_by_itself() -> None:
    assert signalled(signal.SIGINT, signal.SIGTERM, echo=60.0, over=True) == (0, "", "")


def test_it_is_said_once() -> None:
    said: list[str] = []
    with signals_kept():
        assert say_interrupted(KeyboardInterrupt(), said.append) == 130
        assert say_interrupted(Terminated(), said.append) == 143
    assert said == ["Interrupted. The same command goes on where it stopped."]


# ---------------------------------------------------------------- deferred


def send(number: int, done: list[str]) -> None:
    """Sends this thread the signal in the middle of a block that must come to its end."""
    with signals_deferred():
        signal.raise_signal(number)
        done.append("the block")


def have_it_take(thread: threading.Thread, number: int, told: socket.socket, done: list[str]) -> None:
    """Has another thread take the signal in the middle of the block; its handler tells a socket."""
    with signals_deferred():
        assert thread.ident is not None
        signal.pthread_kill(thread.ident, number)
        assert told.recv(1) == bytes([number])  # it has come by now, and not a moment after the block
        done.append("the block")


@BOTH
def test_signals_wait_for_the_end_of_the_block(number: int, raised: type[BaseException]) -> None:
    done: list[str] = []
    with pytest.raises(raised), signals_kept(), interruptible():
        send(number, done)
    assert done == ["the block"]


def test_a_signal_that_another_thread_takes_waits_too() -> None:
    """The kernel gives a process's signal to whichever thread does not block it."""
    release, done = threading.Event(), list[str]()
    other = threading.Thread(target=release.wait)
    other.start()
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno())
    try:
        with pytest.raises(KeyboardInterrupt):
            have_it_take(other, signal.SIGINT, reader, done)
    finally:
        signal.set_wakeup_fd(before)
        release.set()
        other.join()
        reader.close()
        writer.close()
    assert done == ["the block"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_begun_in_the_block_do_not_see_them(number: int) -> None:
    with signals_deferred():
        process = subprocess.Popen([sys.executable, "-c", SAYS_WHEN_IT_SLEEPS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def test_in_another_thread_blocks_are_just_run() -> None:
    done: list[Any] = []

    def work() -> None:
        with signals_kept(), signals_deferred(), interruptible():
            raise_if_interrupted()
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
