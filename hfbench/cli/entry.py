"""The console script, which keeps Ctrl-C and SIGTERM before it imports anything that takes time."""

from __future__ import annotations

import sys

from hfbench.cli import RESUMED
from hfbench.interrupts import GOES_ON, STOPPED, keep_signals, leave_to_its_end


def start() -> None:
    keep_signals(GOES_ON if {*sys.argv[1:2]} & {*RESUMED} else STOPPED)
    from hfbench.cli.main import main

    try:
        main()
    finally:
        leave_to_its_end()
