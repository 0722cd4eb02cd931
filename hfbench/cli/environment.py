"""Environment variables of hfbench: which it reads, and what to say of those that it ignores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from hfbench.messages import nearest_name

PREFIX = "HFBENCH_"
DATA, RESULTS = "HFBENCH_DATA", "HFBENCH_RESULTS"
OF_TESTS = ("HFBENCH_ORACLES", "HFBENCH_TEST_LOG")  # what hfbench's own tests read


def ignored_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each `HFBENCH_…` variable that is set and has no effect, and the reason."""
    for name, value in sorted(environment.items()):
        if not name.startswith(PREFIX) or name in OF_TESTS:
            continue
        if name not in (DATA, RESULTS):
            near = nearest_name(name.removeprefix(PREFIX), (known.removeprefix(PREFIX) for known in (DATA, RESULTS)))
            meant = f" (did you mean {PREFIX}{near}?)" if near else ""
            yield f"the environment variable {name} is ignored{meant}; hfbench reads {DATA} and {RESULTS}."
        elif not value:
            yield f"the environment variable {name} is ignored, since it is empty."
        elif name == DATA and not Path(value).expanduser().is_dir():
            yield f"the environment variable {name} names {value}, which is not a folder: no data are found there."
