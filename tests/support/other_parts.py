"""Parts of other distributions, which whoever runs the suite may have installed, and which no test may meet."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from typing import Any

from hfbench.parts.registry import PREFIX


def hide_other_parts() -> None:
    """Leaves out every other distribution that has parts by now; those that a test installs are found."""
    installed = metadata.distributions
    others = {
        distribution.name
        for distribution in installed()
        if any(point.group.startswith(PREFIX) for point in distribution.entry_points) and distribution.name != "hfbench"
    }

    def distributions(**where: Any) -> Iterator[metadata.Distribution]:
        return (distribution for distribution in installed(**where) if distribution.name not in others)

    metadata.distributions = distributions
