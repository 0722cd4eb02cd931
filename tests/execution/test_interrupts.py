from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from hfbench.execution.interrupts import Terminated, signals_deferred, sigterm_interrupts

SAYS_WHEN_IT_SLEEPS = "import time; print('here', flush=True); time.sleep(60)"


@pytest.fixture(autouse=True)
def _as_from_a_terminal() -> Iterator[None]:
    """What was begun in the background of a shell has Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number: int, done: list[str]) -> None:
    """Sends this thread the signal in the middle of a block that must come to its end."""
    with signals_deferred():
        signal.raise_signal(number)
        done.append("the block")


def send_both() -> None:
    with signals_deferred():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)


def have_it_take(thread: threading.Thread, number: int, told: socket.socket, done: list[str]) -> None:
    """Has another thread take the signal in the middle of the block; its handler tells a socket."""
    with signals_deferred():
        assert thread.ident is not None
        signal.pthread_kill(thread.ident, number)
        assert told.recv(1) == bytes([number])  # it has come by now, and not a moment after the block
        done.append("the block")


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_signals_wait_for_the_end_of_the_block(number: int, raised: type[BaseException]) -> None:
    done: list[str] = []
    with sigterm_interrupts():
        with pytest.raises(raised):
            send(number, done)
        assert done == ["the block"]
        with pytest.raises(raised):
            signal.raise_signal(number)


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


def test_both_signals_in_one_block_leave_their_handlers_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with sigterm_interrupts(), pytest.raises(KeyboardInterrupt):
        send_both()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


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


def test_in_another_thread_the_block_is_just_run() -> None:
    done = []

    def work() -> None:
        with signals_deferred():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
