"""Attempt at a run, from its last checkpoint to its result or failure."""

from __future__ import annotations

import math
import os
import platform
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

import torch

from hfbench.config.devices import gpu_of
from hfbench.config.run_spec import RunSpec
from hfbench.errors import HfbenchError, StoreError
from hfbench.interrupts import interruptible, is_interrupt
from hfbench.parts import plugin_errors, registry
from hfbench.parts.process_state import ProcessState, changes_since, check_unchanged, state_at_begin
from hfbench.parts.protocols import BatchPlan
from hfbench.records import trace
from hfbench.records.run_folder import COMPLETE, RunFolder
from hfbench.records.weights import identity_of, weights_bytes
from hfbench.runs.batch_replay import plans, repeats
from hfbench.runs.build import load_data
from hfbench.runs.evaluation import examples
from hfbench.runs.failure_causes import MACHINE, cause_of
from hfbench.runs.hardware import hardware
from hfbench.runs.meters import Awaited, reset_peak_memory
from hfbench.runs.run import LEAST_STEPS, LiveRun

REPORT_EVERY = 0.5  # seconds between two reports of progress


def attempt(
    spec: RunSpec,
    folder: RunFolder,
    study: str = "",
    data: str | None = None,
    checkpoint_every: float = 2.0,
    limit: float = math.inf,
    shorter: RunFolder | None = None,
    keep_weights: bool = False,
) -> dict[str, Any]:
    """Runs `spec` from its last checkpoint, or from the start, to its end; writes its folder and returns its result.

    The start is the end of `shorter`, the run with a smaller budget (`hfbench.records.shorter_runs`), if that was made
    with the same versions and batches. If it did not end at its budget, its record becomes this run's too.

    With `keep_weights` the weights at its end are in the record, unless it diverged or failed.

    A complete run is not repeated; its result is read. An exception becomes the outcome "failed" with its cause, its
    message and its place; the traceback is in error.txt next to the result. After `limit` wall seconds from its first
    step a run is left with a checkpoint, and the outcome is ""; `start` are the seconds before that step.
    """
    result = folder.sound_result(spec.config()) or {}
    if result.get("outcome") in COMPLETE:
        return result
    if _spoilt:
        return record_failure(spec, folder, study, _spoilt[0], _spoilt[0])
    with single_threaded():
        state, recursion = state_at_begin(), sys.getrecursionlimit()
        try:
            return _made(spec, folder, study, data, checkpoint_every, limit, shorter, keep_weights, state)
        except BaseException as error:
            if is_interrupt(error):
                raise
            sys.setrecursionlimit(max(recursion, sys.getrecursionlimit()))
            changes = changes_since(state)
            if changes:
                _spoilt.append(SPOILT.format(run=spec.name, changes=", ".join(changes)))
            cause = cause_of(error, str(result.get("error") or ""))
            return record_failure(spec, folder, study, plugin_errors.reason(error), traceback.format_exc(), cause)


_spoilt: list[str] = []  # what a run of this process has changed for all that come after it
SPOILT = (
    "an earlier run of this process, {run}, changed {changes}. Give the command again, or use two jobs and more: then "
    "each run has a process of its own."
)


def _made(
    spec: RunSpec,
    folder: RunFolder,
    study: str,
    data: str | None,
    checkpoint_every: float,
    limit: float,
    shorter: RunFolder | None,
    keep_weights: bool,
    before: ProcessState,
) -> dict[str, Any]:
    """The result of a run that ends, of which nothing is written if it changed the state of the process."""
    began = time.monotonic()
    folder.create(spec.config())
    folder.reopen()
    recorded = _recorded(spec, folder)
    if shorter is not None and not _begins(shorter, spec, recorded):
        shorter = None
    if shorter is not None and _ended_for_good(shorter, spec):
        return _taken_over(shorter, spec, folder, study, keep_weights)
    live = _opened(spec, folder, data, recorded, shorter)
    start = time.monotonic() - began
    _carry_on(live, folder, checkpoint_every, limit)
    if live.outcome is None:
        check_unchanged(before, "the run")
        return {"outcome": "", "start": start}
    with _forks_ended(), Awaited():
        result = identity(spec, folder.key, study) | live.result()
        pictures = examples(live.model, live.task, live.data.test)
        state = live.state_dict() if live.was_cut_off else None
        weights = None
        if keep_weights and live.outcome != "diverged":
            weights = weights_bytes(live.model.state_dict(), identity_of(folder.key, spec.config()))
    check_unchanged(before, "the run")
    folder.finish(live.rows, result, pictures, state, weights)
    return result


def record_failure(
    spec: RunSpec, folder: RunFolder, study: str, error: str, details: str, cause: str = MACHINE
) -> dict[str, Any]:
    """Writes and returns the result of a run that could not be made; `cause` as in `failure_causes`."""
    error, details = (text.encode(errors="backslashreplace").decode() for text in (error, details))
    result = identity(spec, folder.key, study) | {"outcome": "failed", "cause": cause, "error": error}
    folder.create(spec.config())  # it may have ended before it had one
    folder.fail(result, details)
    return result


def _opened(
    spec: RunSpec,
    folder: RunFolder,
    data: str | None,
    recorded: Sequence[BatchPlan] | None,
    shorter: RunFolder | None,
) -> LiveRun:
    """The run at its last checkpoint, at the end of the shorter run, or at its start."""
    trace.import_writers()  # else its libraries, 100 MiB, would count for every run but a process's first
    reset_peak_memory()
    folder.report({"name": spec.name, "iteration": 0})
    with interruptible(), _forks_ended():
        loaded = load_data(spec, data)
        with Awaited():
            live = LiveRun(spec, loaded, recorded)
    state = folder.load_checkpoint()
    if state is None and shorter is not None:
        state = shorter.load_checkpoint()
    if state is None:
        with interruptible(), _forks_ended():
            live.begin()
    else:
        live.load_state_dict(state)
    return live


@contextmanager
def _forks_ended() -> Iterator[None]:
    """A process that a part forks in the block, and that comes back to its end, ends there: it would record as well."""
    process = os.getpid()
    try:
        yield
    finally:
        if os.getpid() != process:
            os._exit(1)


def _begins(shorter: RunFolder, spec: RunSpec, recorded: Sequence[BatchPlan] | None) -> bool:
    """Whether the shorter run is the beginning of this one, as it would be made here and now."""
    result = shorter.result() or {}
    now = identity(spec, shorter.key, "")
    if any(result.get(name) != now[name] for name in ("versions", "hardware")):
        return False
    if recorded is None:
        return True
    # The step at which a run diverged has no row, so that its batch is unknown.
    return result["outcome"] != "diverged" and repeats(shorter.rows(), recorded)


def _ended_for_good(shorter: RunFolder, spec: RunSpec) -> bool:
    result = shorter.result() or {}
    ended = result.get("outcome") in ("diverged", *(["reached"] if spec.stop_at_target else []))
    return ended and result["iterations"] % spec.evaluate_every == 0  # else it was looked at for its budget alone


def _taken_over(shorter: RunFolder, spec: RunSpec, folder: RunFolder, study: str, keep_weights: bool) -> dict[str, Any]:
    """Records the shorter run as this one, with its weights if it has them, and returns its result."""
    result = (shorter.result() or {}) | {"key": folder.key, "study": study}
    weights = None
    with suppress(StoreError):  # damaged weights are as good as none
        if keep_weights and (tensors := shorter.weights()) is not None:
            weights = weights_bytes(tensors, identity_of(folder.key, spec.config()))
    folder.finish(shorter.rows(), result, shorter.examples(), weights=weights)
    return result


def _recorded(spec: RunSpec, folder: RunFolder) -> list[BatchPlan] | None:
    """The recorded batches that the run replays, if it replays another run's."""
    if not spec.follows:
        return None
    followed = folder.beside(spec.follows)
    if not followed.is_complete():
        raise StoreError(
            f"{spec.name} replays the batches of {spec.method.batches_of}, whose run {spec.follows} has no trace: "
            "it must have ended without failing first."
        )
    return plans(followed.rows())


def _carry_on(live: LiveRun, folder: RunFolder, checkpoint_every: float, limit: float) -> None:
    """Iterates until the run has an outcome or the time is up, saving checkpoints and reporting progress."""
    began = saved = reported = now = time.monotonic()
    while live.outcome is None and (now - began < limit or len(live.rows) <= LEAST_STEPS):
        with interruptible(), _forks_ended():
            live.advance()
        now = time.monotonic()
        if live.outcome is None and (now - saved >= checkpoint_every or now - began >= limit):
            folder.save_checkpoint(live.state_dict())
            saved = time.monotonic()
        if now - reported >= REPORT_EVERY:
            folder.report(live.progress())
            reported = now


def identity(spec: RunSpec, key: str, study: str) -> dict[str, Any]:
    """Columns of a result that identify the run, and the machine and versions it was made with."""
    libraries = {name: version(name) for name in ("hfbench", "torch", "numpy")}
    return {
        "key": key,
        "study": study,
        "task": spec.task,
        "method": spec.method.name,
        "seed": spec.seed,
        "threads": 1,
        "hardware": hardware(),
        "versions": {
            "python": platform.python_version(),
            **libraries,
            **gpu_of(spec.device),
            **dict(_provenance(spec)),
        },
    }


def _provenance(spec: RunSpec) -> Iterator[tuple[str, str]]:
    """Owners of the run's parts, as far as they could be loaded."""
    for family, settings in spec.parts():
        with suppress(HfbenchError):
            yield registry.provenance(family, settings["use"])


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread, so that parallel runs do not affect each other's seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
