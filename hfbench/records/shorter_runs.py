"""Ended runs with a smaller budget, from which a run with a larger one goes on.

A run's key covers its budget, so the record lies under another key: the one that the run would have with that budget.
Equal keys mean that everything else is equal, the source of the numerics included.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hfbench.config.measures import costs
from hfbench.config.run_spec import RunSpec
from hfbench.errors import StoreError
from hfbench.records.recorded_study import recorded_keys
from hfbench.records.run_folder import RunFolder

# The field of a result that says how much of a limit the run has spent.
SPENT = {"iterations": "iterations"} | {cost.limit: cost.spent for cost in costs().values() if cost.limit}


class ShorterRuns:
    """The runs of a results folder, read when they are first asked for."""

    def __init__(self, results: Path) -> None:
        self.results = results

    def of(self, spec: RunSpec) -> RunFolder | None:
        """The longest ended run that differs from `spec` in its budget alone and has spent less than that of `spec`.

        A run that replays batches may also differ in the run that it follows. None for a run that takes other steps if
        its budget is larger.
        """
        if spec.follows_length():
            return None
        folders = [RunFolder(self.results, key) for key in self._keys.get(spec.name, ())]
        able = [folder for folder in folders if _is_shorter(folder, spec)]
        return max(able, key=lambda folder: int((folder.result() or {}).get("iterations", 0)), default=None)

    @cached_property
    def _keys(self) -> dict[str, list[str]]:
        """By name of the run."""
        found: dict[str, list[str]] = {}
        for key in recorded_keys(self.results):
            config = _config(RunFolder(self.results, key))
            with suppress(KeyError, TypeError):
                name = f"{config['method']['name']}/{config['task']}/s{config['seed']}"
                found.setdefault(name, []).append(key)
        return found


def _is_shorter(folder: RunFolder, spec: RunSpec) -> bool:
    config = _config(folder)
    budget, follows = config.get("budget"), config.get("follows")
    if budget == spec.budget or replace(spec, budget=budget, follows=follows).key() != folder.key:  # type: ignore[arg-type]
        return False
    with suppress(StoreError, TypeError):  # a record that cannot be read is one to make again
        result = folder.result() or {}
        spent = [(result.get(SPENT[unit]) or 0) < limit for unit, limit in spec.budget.items()]
        return folder.is_complete() and all(spent)
    return False


def _config(folder: RunFolder) -> Mapping[str, Any]:
    """A configuration; one that cannot be read is that of no shorter run."""
    with suppress(StoreError):
        return folder.config() or {}
    return {}
