"""An end to blocks that never end: in the main thread, again where it was swallowed, and nothing left behind."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from hfbench.testing.limit import TimeUp, ended_after

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer can interrupt Python here")


def wait(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_a_block_that_takes_too_long_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(TimeUp), ended_after(0.05):
        wait(10)
    assert 0.05 <= time.monotonic() - began < 5


def test_a_block_that_swallows_the_end_is_ended_again() -> None:
    swallowed = []

    def stubborn() -> None:
        try:
            wait(10)
        except BaseException as error:
            swallowed.append(error)
            wait(10)

    with pytest.raises(TimeUp), ended_after(0.05):
        stubborn()
    assert len(swallowed) == 1


def test_a_quick_block_is_left_alone_and_nothing_stays() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with ended_after(0.05):
        pass
    wait(0.1)
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_a_timer_that_was_running_goes_on() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    before = signal.setitimer(signal.ITIMER_REAL, 0.1)
    try:
        with ended_after(5):
            wait(0.2)
        assert rung == []
        wait(0.1)
        assert rung == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, *before)
        signal.signal(signal.SIGALRM, handler)


def test_another_thread_is_not_interrupted() -> None:
    ended: list[str] = []

    def work() -> None:
        with ended_after(0.01):
            wait(0.1)
        ended.append("by itself")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == ["by itself"]
