"""Judgements of a study, stored next to its report: the seeds judged, the time, and the verdicts.

A study that is judged, extended by seeds and judged again errs more often than one that is judged once, unless the
looks were declared. The study therefore records every look.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hfbench.errors import StoreError
from hfbench.records.sealed import read_sealed_json, write_sealed_json

FILE = "judgements.json"


@dataclass(frozen=True)
class Judged:
    """Verdict of one comparison or claim."""

    settings: str  # a digest of the two methods, task, target and cost: other settings are another question
    rule: str  # test, level and margin
    planned: tuple[int, ...]  # seeds
    seeds: tuple[int, ...]  # that were there
    verdict: str


@dataclass(frozen=True)
class Judgement:
    """All verdicts of one look, by name."""

    when: str
    looks: tuple[int, ...]  # that the study declared
    judged: Mapping[str, Judged]


def judged_before(folder: Path) -> list[Judgement]:
    """The judgements recorded in a study's folder, in order of time. Raises StoreError if they are damaged."""
    try:
        found = read_sealed_json(folder / FILE)
        if found is not None and (found.keys() != {"judgements"} or not isinstance(found["judgements"], list)):
            raise TypeError("it must have a list of judgements and nothing else")
        return [_judgement_of(row) for row in found["judgements"]] if found is not None else []
    except (KeyError, TypeError, AttributeError, StoreError) as error:
        raise StoreError(
            f"{folder / FILE}: must hold the judgements of the study, but it cannot be read ({type(error).__name__}). "
            "Move the file away to go on; the runs are not touched, but that they were judged before is forgotten."
        ) from error


def _judgement_of(row: Mapping[str, Any]) -> Judgement:
    judged = {
        name: Judged(
            settings=_text(entry["settings"]),
            rule=_text(entry["rule"]),
            planned=_seeds(entry["planned"]),
            seeds=_seeds(entry["seeds"]),
            verdict=_text(entry["verdict"]),
        )
        for name, entry in row["judged"].items()
    }
    return Judgement(_text(row["when"]), _seeds(row["looks"]), judged)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be text, but is {type(value).__name__}")
    return value


def _seeds(values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise TypeError("must be a list of whole numbers")
    return tuple(values)


def remember(folder: Path, before: list[Judgement], looks: tuple[int, ...], judged: Mapping[str, Judged]) -> None:
    """Appends a judgement, unless the last one was the same."""
    if before and (before[-1].looks, dict(before[-1].judged)) == (looks, dict(judged)):
        return
    now = Judgement(datetime.now(UTC).isoformat(timespec="seconds"), looks, judged)
    write_sealed_json(folder / FILE, {"judgements": [asdict(judgement) for judgement in (*before, now)]})
