"""The console script under Ctrl-C and SIGTERM, from the first import to the interpreter's end."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from hfbench.interrupts import STOPPING

# Sends itself a signal when it imports the library, when all is done, or at the very end.
PROGRAM = """
import atexit, os, signal, sys
from importlib.abc import MetaPathFinder
signal.signal(signal.SIGINT, signal.default_int_handler)
number, moment = int(sys.argv[1]), sys.argv[2]
del sys.argv[1:3]

class Sends(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == moment:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Sends())
if moment == "last":  # Python has taken its handlers away when modules are let go
    class Last:
        def __del__(self, kill=os.kill, process=os.getpid(), number=number):
            kill(process, number)
    sys.last = Last()
if moment == "end":
    atexit.register(os.kill, os.getpid(), number)
from hfbench.cli.entry import start
start()
"""


def ended(number: int, moment: str, *arguments: str) -> tuple[int, str, str]:
    """Status and output of `hfbench` with these arguments, without the line that a slow end has first."""
    command = [sys.executable, "-c", PROGRAM, str(int(number)), moment, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr.replace(f"{STOPPING}\n", "")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("moment", ["typer", "numpy", "torch"])
def test_a_signal_during_imports_ends_a_command_in_one_sentence(
    number: int, status: int, moment: str, tmp_path: object
) -> None:
    done = ended(number, moment, "run", "quickstart", "--jobs", "1", "--results", f"{tmp_path}/results")
    assert (done[0], done[1] + done[2]) == (status, "Interrupted. The same command goes on where it stopped.\n")


def test_a_command_that_records_nothing_says_that_it_was_interrupted() -> None:
    assert ended(signal.SIGINT, "typer", "list", "solver")[::2] == (130, "Interrupted.\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_all_work_changes_nothing(number: int) -> None:
    whole = ended(number, "never", "list", "solver")
    assert whole[0] == 0
    assert ended(number, "end", "list", "solver") == whole
    assert ended(number, "last", "list", "solver") == whole


SLOW_TO_FREE = """
import atexit, sys

class Heap:
    def __del__(self, write=sys.stderr.write):
        write("freed")

sys.heap = Heap()
atexit.register(sys.stderr.write, "cleared up")
sys.argv = ["hfbench", "--version"]
from hfbench.cli.entry import start
start()
"""


def test_a_command_clears_up_and_frees_nothing() -> None:
    """To free all objects of the libraries takes longer than some commands."""
    done = subprocess.run([sys.executable, "-c", SLOW_TO_FREE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:8], done.stderr) == (0, "hfbench ", "cleared up")
