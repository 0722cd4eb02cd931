"""Looks: the numbers of seeds at which a study is judged, declared beforehand, so that they share alpha.

    alpha_k = alpha (n_k - n_(k-1)) / n_K        for looks at n_1 < ... < n_K seeds

is what look k may err with: in proportion to the seeds that are new (Lan and DeMets 1983, a spending function alpha t).
Each look is judged at its own share, on the first n_k seeds, so that all of them together err in at most sum alpha_k =
alpha, whatever the correlation between looks; that is not used, which costs some power. What one look decided stays
decided. A study without looks is judged once, at the whole alpha, on all its seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from hfbench.config.study import Study
from hfbench.records.recorded_study import RecordedStudy
from hfbench.statistics.claims import OPEN, Claim
from hfbench.statistics.comparisons import Comparison
from hfbench.statistics.factorial import Effect

if TYPE_CHECKING:
    import pandas as pd

EARLY = "inconclusive (before the first look)"
Judged = TypeVar("Judged", Comparison, Effect)


@dataclass(frozen=True)
class Look:
    """A judgement on the first seeds of every task."""

    seeds: int | None  # all of them, if None
    alpha: float


def on_all_seeds(study: Study) -> Look:
    """The one judgement of a study that declares no looks; of one that does, what it knows before the first."""
    return Look(None, shares(study)[0].alpha if study.looks else study.alpha)


def shares(study: Study) -> list[Look]:
    """Every declared look with its share of alpha."""
    return [Look(*share) for share in zip(study.looks, spend(study.looks, study.alpha), strict=True)]


def within_reach(study: Study) -> list[Look]:
    """The looks that the seeds of every task suffice for; the whole study where none are declared."""
    if not study.looks:
        return [on_all_seeds(study)]
    fewest = min(len(on_task.seeds) for on_task in study.on.values())
    return [look for look in shares(study) if look.seeds is not None and look.seeds <= fewest]


def spend(looks: Sequence[int], alpha: float) -> list[float]:
    """alpha_k of every look: in proportion to the seeds that are new."""
    return [alpha * (look - before) / looks[-1] for look, before in zip(looks, (0, *looks[:-1]), strict=True)]


def complete(recorded: RecordedStudy) -> list[Look]:
    """The looks of which every run has ended, in their order; the whole study where none are declared."""
    study = recorded.study
    if not study.looks:
        return [on_all_seeds(study)]
    missing = {(spec.task, spec.seed) for spec in (*recorded.missing, *recorded.lost)}
    return [look for look in shares(study) if _is_complete(look, study, missing)]


def _is_complete(look: Look, study: Study, missing: set[tuple[str, int]]) -> bool:
    assert look.seeds is not None
    return all(
        len(on_task.seeds) >= look.seeds and missing.isdisjoint((task, seed) for seed in on_task.seeds[: look.seeds])
        for task, on_task in study.on.items()
    )


def seen_at(look: Look, study: Study, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs of the look's seeds; the columns stay where there is none."""
    seen = {(task, seed) for task, on_task in study.on.items() for seed in on_task.seeds[: look.seeds]}
    return runs.loc[[pair in seen for pair in zip(runs["task"], runs["seed"], strict=True)]]


def first_decided(by_look: Sequence[Sequence[Judged]], now: Sequence[Judged]) -> list[Judged]:
    """Each as the look that decided it saw it; what is open still, as the last one did."""
    if not by_look:
        return [_undecided(last) for last in now]
    return [_decided([found[index] for found in by_look], last) for index, last in enumerate(now)]


def _decided(path: Sequence[Judged], now: Judged) -> Judged:
    deciding = next((look for look in path if not look.verdict.startswith("inconclusive")), now)
    return now if deciding.n == now.n else replace(deciding, decided_at=deciding.n)


def _undecided(now: Judged) -> Judged:
    return replace(now, p=None, p_holm=None, p_tost=None, p_tost_holm=None, verdict=EARLY)


def first_answered(by_look: Sequence[Sequence[Claim]], now: Sequence[Claim]) -> list[Claim]:
    """As `first_decided`, of the claims: each with the answer of the look that gave one."""
    if not by_look:
        return [replace(claim, comparison=_undecided(claim.comparison), p_not_worse=None) for claim in now]
    return [_answered([found[index] for found in by_look], last) for index, last in enumerate(now)]


def _answered(path: Sequence[Claim], now: Claim) -> Claim:
    deciding = next((look for look in path if look.answer != OPEN), now)
    n = deciding.comparison.n
    return now if n == now.comparison.n else replace(deciding, comparison=replace(deciding.comparison, decided_at=n))


def all_decided(judged: Sequence[Comparison | Effect], claims: Sequence[Claim]) -> bool:
    """Whether further looks could add no verdict and no answer."""
    open_claims = any(claim.answer == OPEN for claim in claims)
    return not open_claims and not any(c.verdict.startswith("inconclusive") for c in judged)
