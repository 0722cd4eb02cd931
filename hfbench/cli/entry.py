"""The console script, which keeps Ctrl-C and SIGTERM before it imports anything that takes time."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress

from hfbench.cli import RESUMED
from hfbench.interrupts import GOES_ON, STOPPED, keep_signals, leave_to_its_end


def start() -> None:
    keep_signals(GOES_ON if {*sys.argv[1:2]} & {*RESUMED} else STOPPED)
    from hfbench.cli.main import main

    try:
        main()
    except SystemExit as ending:
        leave_to_its_end()
        _end(int(ending.code or 0))
    finally:
        leave_to_its_end()


def _end(status: int) -> None:
    """Ends the process as Python does, without freeing what libraries have made: that takes a second or two."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, or without a reader
            stream.flush()
    os._exit(status)
