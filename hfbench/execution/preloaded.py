"""Everything that runs of shipped parts need, loaded once by the server from which the processes of runs are forked."""

from __future__ import annotations

import gc
from contextlib import suppress

from hfbench.execution.parent_watch import ended_with_parent

with ended_with_parent():
    import torch._dynamo  # noqa: F401  (an optimiser imports it when it is made, which takes a second)

    import hfbench.runs.attempt  # noqa: F401
    from hfbench.config.source_hash import _core_source, _part_source
    from hfbench.errors import HfbenchError
    from hfbench.parts import registry
    from hfbench.parts.process_state import keep_definitions
    from hfbench.records import trace

    trace.import_writers()
    _core_source()  # of which every run's key is made, and of the sources of its parts
    for family in registry.FAMILIES:
        for name in registry.names(family):
            if registry.is_shipped(family, name):
                with suppress(HfbenchError):  # of an installation that is older than its files: who uses it is told
                    _part_source(registry.get(family, name))  # type: ignore[arg-type]
    keep_definitions()
# A run collects garbage before it begins, a tenth of a second through libraries: they are left out.
gc.collect()
gc.freeze()
