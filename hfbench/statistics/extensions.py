"""Extensions: seeds that were added to a comparison after it was judged, which no declared look covers.

Seven seeds, then ten, then twenty, judged each time at 5 %, call equal methods different in 11 % of studies. What is
found then stands beside what was found first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from hfbench.config.study import Study
from hfbench.records.judgements import Judged, Judgement
from hfbench.records.recorded_study import RecordedStudy
from hfbench.statistics.claims import Claim
from hfbench.statistics.comparisons import Comparison
from hfbench.statistics.findings import Findings

Found = TypeVar("Found", Comparison, Claim)


def judged_now(recorded: RecordedStudy, found: Findings) -> dict[str, Judged]:
    """What is judged by `found`, by name."""
    there: dict[tuple[str, str], set[int]] = {}
    for task, method, seed in zip(*(recorded.judged[name] for name in ("task", "method", "seed")), strict=True):
        there.setdefault((task, method), set()).add(int(seed))
    named = [(remembered_as(c), c, c.verdict) for c in found.comparisons]
    named += [(remembered_as(claim), claim.comparison, claim.answer) for claim in found.claims]
    judged = {}
    for name, c, verdict in named:
        both = there.get((c.task, c.method), set()) & there.get((c.task, c.baseline), set())
        planned = set(recorded.study.on[c.task].seeds)
        judged[name] = Judged(_settings(recorded.study, c), tuple(sorted(both)), both == planned, verdict)
    return judged


def remembered_as(one: Comparison | Claim) -> str:
    """What a comparison or claim is remembered by."""
    if isinstance(one, Claim):
        return f"claim {one.hypothesis.name} on {one.comparison.task}"
    return f"{one.method} against {one.baseline} on {one.task}"


def _settings(study: Study, c: Comparison) -> str:
    methods = [dataclasses.asdict(study.methods[name]) for name in (c.method, c.baseline)]
    about = [c.cost, study.tasks[c.task], study.targets[c.task], methods]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def with_first_verdicts(
    found: Findings, judged: Mapping[str, Judged], before: Sequence[Judgement], study: Study
) -> Findings:
    """The findings, with how many seeds are planned, and the first verdict of whatever was extended undeclared."""
    return replace(
        found,
        comparisons=[_told(c, judged[remembered_as(c)], before, study) for c in found.comparisons],
        claims=[
            replace(
                claim,
                comparison=_told(claim.comparison, judged[remembered_as(claim)], before, study, remembered_as(claim)),
            )
            for claim in found.claims
        ],
    )


def _told(c: Comparison, now: Judged, before: Sequence[Judgement], study: Study, name: str | None = None) -> Comparison:
    first = first_look(name or remembered_as(c), now, before, study.looks)
    planned = len(study.on[c.task].seeds)
    if first is None:
        return replace(c, planned=planned)
    return replace(c, planned=planned, first_n=len(first.seeds), first_verdict=first.verdict)


def first_look(name: str, now: Judged, before: Sequence[Judgement], looks: tuple[int, ...]) -> Judged | None:
    """The first whole judgement of the same comparison on some of the seeds, if no declared look covers it."""
    for judgement in before:
        earlier = judgement.judged.get(name)
        if earlier is None or earlier.settings != now.settings or not earlier.complete:
            continue
        declared = bool(looks) and judgement.looks == looks
        if set(earlier.seeds) < set(now.seeds) and not declared:
            return earlier
    return None
