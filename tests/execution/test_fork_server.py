"""The server of the processes starts before a command has loaded its libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

from hfbench.execution import fork_server
from hfbench.execution.processes import Processes

STARTED = """
import sys
from hfbench.execution.fork_server import start_server
start_server()
start_server()
print([name for name in ("torch", "numpy", "mlflow", "pandas") if name in sys.modules])
"""


def test_starting_it_loads_no_library_here_and_needs_no_end() -> None:
    ran = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, timeout=60, check=True)
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")


def test_its_processes_have_one_thread_and_this_process_keeps_its_own_number() -> None:
    before = dict(os.environ)
    fork_server.start_server()
    assert dict(os.environ) == before
    with closing(Processes(1)) as engine:
        asked = [engine.submit(os.getenv, name).result(timeout=60) for name in fork_server.THREADS]
    assert asked == ["1"] * 3
