from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from hfbench.studies.signals import Terminated, sigterm_interrupts, undisturbed

SAYS_WHEN_IT_SLEEPS = "import time; print('here', flush=True); time.sleep(60)"


def send(number: int, done: list[str]) -> None:
    """Sends the signal in the middle of a block that must come to its end."""
    with undisturbed():
        os.kill(os.getpid(), number)
        for _ in range(1000):
            pass
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
    """The kernel gives it to whichever thread does not block it."""
    release, done = threading.Event(), list[str]()
    other = threading.Thread(target=release.wait)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT, done)
    finally:
        release.set()
        other.join()
    assert done == ["the block"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_processes_begun_in_the_block_do_not_see_them(number: int) -> None:
    with undisturbed():
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
        with undisturbed():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
