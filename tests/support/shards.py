"""Shards of a study that are run and imported quietly."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from hfbench.commands.import_records import import_study
from hfbench.commands.run_shard import run_shard, shard_of
from hfbench.config.study import Study


def shard(study: Study, which: str, results: Path) -> tuple[int, str]:
    screen = io.StringIO()
    console = Console(file=screen, width=80)
    status = run_shard(study, shard_of(which), results, 1, None, console, ["--seeds", "5"])
    return status, screen.getvalue()


def imported(study: Study, results: Path, *sources: Path) -> tuple[int, str]:
    screen = io.StringIO()
    status = import_study(study, sources, results, None, Console(file=screen, width=80))
    return status, screen.getvalue()


def comparisons(results: Path) -> dict[str, Any]:
    """All that was judged, but for what no two runs agree on."""
    found = json.loads((results / "studies/tiny/comparisons.json").read_text())
    moody = ("seconds_to_target", "peak_memory")
    return found | {"secondary": [one for one in found["secondary"] if one["measure"] not in moody]}
