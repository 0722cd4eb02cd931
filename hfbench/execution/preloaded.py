"""Libraries that a run needs, loaded once by the server from which the processes of runs are forked."""

from __future__ import annotations

import gc

import hfbench.runs.attempt  # noqa: F401
from hfbench.records import trace

trace.import_writers()
# A run collects garbage before it begins, a tenth of a second through libraries: they are left out.
gc.collect()
gc.freeze()
