"""Runs inside a worker process, here or on another machine."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hfbench.config.run_spec import RunSpec
from hfbench.execution.backends import folder_of_worker
from hfbench.execution.part_shipping import AddedPart, SentPart
from hfbench.execution.printable_streams import make_streams_printable
from hfbench.parts import plugin_errors, registry
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.run_folder import Contents

CHANGED = (
    "the source of the numerics or of a part changed while the study was running, so this run would not be what it is "
    "recorded as. Give the command again."
)
ELSEWHERE = (
    "the worker on {host} has another version of hfbench, of a part or of the data than this machine, so this run "
    "would not be what it is recorded as. Install the same there and give the command again."
)
UNLOADED = "a file of parts could not be loaded in a process of its own, as --jobs 2 and more needs:"


def _job(
    key: str, spec: RunSpec, setting: ResultsFolder, parts: list[AddedPart], shorter: str
) -> tuple[dict[str, Any], None]:
    """A run on this machine; `shorter` is the key of the run that it goes on from, or empty."""
    return _made(key, spec, setting, parts, CHANGED, shorter), None


TAKING_TURNS = threading.Lock()  # a worker of a cluster may have threads, but its parts and torch threads are one


def _job_away(
    key: str,
    spec: RunSpec,
    setting: ResultsFolder,
    parts: list[SentPart],
    known: Mapping[str, Contents],
    shorter: str,
) -> tuple[dict[str, Any], Contents]:
    """A run on another machine, in a folder of its own, begun with what is recorded of it and of the runs it needs."""
    make_streams_printable()  # the worker's log is read in a terminal
    with TAKING_TURNS, tempfile.TemporaryDirectory(prefix="hfbench-run-", dir=folder_of_worker()) as folder:
        there = replace(setting, results=Path(folder))
        for run, contents in known.items():
            there.folder(run).put(contents)
        added = [part.kept() for part in parts]
        result = _made(key, spec, there, added, ELSEWHERE.format(host=socket.gethostname()), shorter)
        return result, there.folder(key).contents()


def _made(
    key: str, spec: RunSpec, setting: ResultsFolder, parts: Sequence[AddedPart], changed: str, shorter: str
) -> dict[str, Any]:
    from hfbench.runs.attempt import attempt, record_failure

    folder = setting.folder(key)
    registry.forget()  # those of another study, for which this process was started
    try:
        for part in parts:
            part.add()
    except BaseException as error:
        return record_failure(
            spec,
            folder,
            setting.study,
            f"{UNLOADED} {plugin_errors.reason(error)}",
            plugin_errors.plugin_traceback(error),
        )
    if spec.key() != key:
        return record_failure(spec, folder, setting.study, changed, changed)
    begun = setting.folder(shorter) if shorter else None
    kept = setting.study, setting.data, setting.checkpoint_every
    return attempt(spec, folder, *kept, shorter=begun, keep_weights=setting.keep_weights)
