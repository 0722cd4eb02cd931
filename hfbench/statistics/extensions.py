"""Extensions: comparisons that were judged before, on other seeds or by another rule, which no declared look covers.

Seven seeds, then ten, then twenty, judged each time at 5 %, call equal methods different in 11 % of studies; seven, and
if they tell nothing twenty fresh ones, in 10 %. What is found then stands beside what was found first.
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
from hfbench.statistics.difference import Difference
from hfbench.statistics.factorial import Effect
from hfbench.statistics.findings import Findings
from hfbench.statistics.looks import EARLY

TOO_FEW = "inconclusive (n too small)"
Told = TypeVar("Told", Comparison, Effect)
UNDECIDABLE = (TOO_FEW, EARLY)  # verdicts that the runs could not have made others


def judged_now(recorded: RecordedStudy, found: Findings) -> dict[str, Judged]:
    """What is judged by `found`, by name."""
    study = recorded.study
    there: dict[tuple[str, str], set[int]] = {}
    for task, method, seed in zip(*(recorded.judged[name] for name in ("task", "method", "seed")), strict=True):
        there.setdefault((task, method), set()).add(int(seed))
    rule = f"{study.test}, level {study.alpha:g}, margin {study.margin:g}"

    def judged(kind: str, c: Difference, methods: Sequence[str], verdict: str) -> Judged:
        seeds = set.intersection(*(there.get((c.task, method), set()) for method in methods))
        planned = sorted(study.on[c.task].seeds)
        return Judged(_settings(study, kind, c, methods), rule, tuple(planned), tuple(sorted(seeds)), verdict)

    now = {remembered_as(c): judged("", c, [c.method, c.baseline], c.verdict) for c in found.comparisons}
    for claim in found.claims:
        c = claim.comparison
        now[remembered_as(claim)] = judged(claim.hypothesis.name, c, [c.method, c.baseline], _answer(claim))
    for effect in found.effects:
        cells = list(study.ablation.levels) if study.ablation is not None else []
        now[remembered_as(effect)] = judged(f"{effect.kind} {effect.name}", effect, cells, effect.verdict)
    return now


def _answer(claim: Claim) -> str:
    """What could not have come out otherwise is no look."""
    c = claim.comparison
    return TOO_FEW if c.p_holm is None and c.p_tost_holm is None else claim.answer


def remembered_as(one: Comparison | Claim | Effect) -> str:
    """What a comparison, claim or effect is remembered by."""
    if isinstance(one, Claim):
        return f"claim {one.hypothesis.name} on {one.comparison.task}"
    if isinstance(one, Effect):
        return f"{one.kind} {one.name} on {one.task}"
    return f"{one.method} against {one.baseline} on {one.task}"


def _settings(study: Study, kind: str, c: Difference, methods: Sequence[str]) -> str:
    """A digest of what is asked: of the methods' settings, not of their names."""
    settings = [dataclasses.asdict(study.method_on(c.task, method)) | {"name": ""} for method in methods]
    target = study.targets[c.task]
    asked = target if study.target_on == "test" else [study.target_on, target]
    about = [kind, c.cost, study.tasks[c.task], asked, settings]
    return hashlib.sha256(json.dumps(about, sort_keys=True, default=str).encode()).hexdigest()[:16]


def with_first_verdicts(
    found: Findings, judged: Mapping[str, Judged], before: Sequence[Judgement], study: Study
) -> Findings:
    """The findings, with how many seeds are planned, and the first verdict of whatever was extended undeclared."""
    return replace(
        found,
        comparisons=[_told(c, judged[remembered_as(c)], before, study) for c in found.comparisons],
        claims=[
            replace(claim, comparison=_told(claim.comparison, judged[remembered_as(claim)], before, study))
            for claim in found.claims
        ],
        effects=[_told(effect, judged[remembered_as(effect)], before, study) for effect in found.effects],
    )


def _told(c: Told, now: Judged, before: Sequence[Judgement], study: Study) -> Told:
    first = first_look(now, before, study.looks)
    planned = len(study.on[c.task].seeds)
    if first is None:
        return replace(c, planned=planned)
    return replace(
        c, planned=planned, first_n=len(first.seeds), first_verdict=first.verdict, first_how=_how(first, now)
    )


def first_look(now: Judged, before: Sequence[Judgement], looks: tuple[int, ...]) -> Judged | None:
    """The first judgement of the same question with other seeds planned, or by another rule, that no look covers.

    Looks that are declared cover each other. Until all planned seeds are there, a study is looked at, and not extended.
    What was judged otherwise after the same judgement, such as a part of its seeds, came too late to have led to it.
    """
    for judgement in before:
        covered = bool(looks) and judgement.looks == looks
        for earlier in judgement.judged.values():
            if earlier.settings != now.settings or not earlier.seeds or earlier.verdict in UNDECIDABLE:
                continue
            if (earlier.planned, earlier.rule) == (now.planned, now.rule):
                return None
            if not covered:
                return earlier
    return None


def _how(first: Judged, now: Judged) -> str:
    if first.rule != now.rule:
        return "another rule"
    if set(now.planned) < set(first.planned):
        return "part"
    return "extended" if set(first.seeds) & set(now.seeds) else "earlier block"
