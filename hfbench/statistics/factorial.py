"""Factorial ablations: main effects and two-way interactions, blocked by seed, judged per task.

A full factorial of k factors has a cell (a method) for each of the 2ᵏ combinations of the factors' two ends, level 0
the `from` end and level 1 the `to` end. With y_{s,c} = log min(T, tau) of cell c at seed s,

    main effect of A:    d_s = mean of y over the cells with A = 1  −  mean of y over those with A = 0,
    interaction A × B:   d_s = (effect of A where B = 1)  −  (effect of A where B = 0), means over the other factors.

exp(d) of a main effect is the factor by which changing A multiplies the cost. exp(d) of an interaction is a ratio of
such ratios: the cost of changing both over what it would be if their effects multiplied. 1: they multiply. Below 1 is
called synergy, together they cost less than that; above 1 antagonism, together they cost more, each takes from the
other. All p values, one per effect and task, are one family. The sd of an interaction is twice that of a main effect
from the same runs, so that it takes four times the seeds.

Censoring. min(T, tau) is fully observed, and for main effects it is judged as it is in `pairs.py`: changing nothing
changes nothing, cut off or not. Not so for interactions: where two factors each halve the cost and the budget cuts off
the dearest cell alone, costs that multiply no longer seem to. A seed with such a cell therefore only bounds d, above,
below or not at all, and p and the interval hold wherever d may lie (`wilcoxon_bounded`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hfbench.errors import ConfigError
from hfbench.statistics.difference import LEAST_SOLVED, Difference, adjust, finite_values, summary_of
from hfbench.statistics.paired_tests import Array, hodges_lehmann, holm, pairs_needed, pairs_to_differ, wilcoxon_bounded
from hfbench.statistics.pairs import PerSeed, budget_of, by_seed, check_records, known
from hfbench.statistics.verdict import better_or_worse, inconclusive, verdict

if TYPE_CHECKING:
    import pandas as pd

INTERACTIONS = {"better": "synergy", "worse": "antagonism"}
MOST_NAMED = 4  # combinations an error lists


@dataclass(frozen=True)
class Design:
    """A full two-level factorial: the level of every factor, in the order of `factors`, in every method.

    Raises ConfigError unless each of the 2ᵏ combinations of levels 0 and 1 is there exactly once.
    """

    factors: tuple[str, ...]
    levels: Mapping[str, tuple[int, ...]]

    def __post_init__(self) -> None:
        if not self.factors or len(set(self.factors)) < len(self.factors):
            raise ConfigError(
                f"a factorial design needs one or more factors, each once, but got {', '.join(self.factors) or 'none'}."
            )
        holders: dict[tuple[int, ...], list[str]] = {
            combination: [] for combination in product((0, 1), repeat=len(self.factors))
        }
        for method, levels in self.levels.items():
            if levels not in holders:
                raise ConfigError(
                    f"{method}: a level, 0 or 1, is needed for each of {', '.join(self.factors)}, but got {levels}."
                )
            holders[levels].append(method)
        wrong = [self._said(levels, names) for levels, names in holders.items() if len(names) != 1]
        if wrong:
            more = f"; and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
            raise ConfigError(
                f"a factorial design needs one method for each of the {len(holders)} combinations of levels, but "
                f"{'; '.join(wrong[:MOST_NAMED])}{more}."
            )

    def _said(self, levels: tuple[int, ...], names: Sequence[str]) -> str:
        combination = ", ".join(f"{factor}={level}" for factor, level in zip(self.factors, levels, strict=True))
        return f"{combination} is {f'there {len(names)} times: ' + ', '.join(names) if names else 'missing'}"

    @property
    def effects(self) -> list[tuple[str, ...]]:
        """Every main effect (A,), then every two-way interaction (A, B)."""
        return [(factor,) for factor in self.factors] + list(combinations(self.factors, 2))

    def weights(self, effect: tuple[str, ...]) -> Array:
        """The contrast that gives an effect's d as y @ weights, shape (2ᵏ,), cells in the order of `levels`."""
        places = [self.factors.index(factor) for factor in effect]
        signs = [math.prod(2 * levels[place] - 1 for place in places) for levels in self.levels.values()]
        return np.array(signs) / 2.0 ** (len(self.factors) - len(effect))

    def matched(self, effect: tuple[str, ...]) -> list[list[int]]:
        """The cells in groups that differ in the effect's factors alone."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for cell, levels in enumerate(self.levels.values()):
            others = tuple(x for x, factor in zip(levels, self.factors, strict=True) if factor not in effect)
            groups.setdefault(others, []).append(cell)
        return list(groups.values())


@dataclass(frozen=True)
class BlockedRuns:
    """The runs of one task in all cells: y and who reached the target, shape (n, 2ᵏ), a row per seed.

    y is log(min(T, tau)/tau): the common −log tau cancels in every effect, and censored cells are exactly 0.
    """

    task: str
    cost: str
    tau: float
    missing: int  # seeds without a run in some cell; they are left out
    y: Array
    solved: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Effect(Difference):
    """A main effect or a two-way interaction on one task; n, missing and `needed` count seeds.

    For a main effect ratio < 1, and a win, mean that the factor's `to` end is cheaper; verdicts are a Comparison's.
    For an interaction they mean that the two together are cheaper than their effects multiplied; the verdict is
    synergy, antagonism or inconclusive, and equivalence is not tested.
    """

    factors: tuple[str, ...]
    cells: int
    censored_from: float  # share of runs cut off at tau: at the `from` end; of an interaction, with just one end `to`
    censored_to: float  # at the `to` end; of an interaction, with both ends `from` or both `to`
    solved_together: float  # share of the matched groups of runs in which all reached the target

    @property
    def name(self) -> str:
        """`A`, or `A:B`."""
        return ":".join(self.factors)

    @property
    def kind(self) -> str:
        return "main effect" if len(self.factors) == 1 else "interaction"

    @property
    def censored(self) -> float:
        """Share of all runs cut off at tau: both weights cover half of the cells."""
        return (self.censored_from + self.censored_to) / 2

    @property
    def enough_solved(self) -> bool:
        """Whether 80 % of the matched groups (runs of a seed that differ in these factors alone) are uncensored."""
        return self.solved_together >= LEAST_SOLVED

    def to_row(self) -> dict[str, Any]:
        """As a Comparison's row, with the effect's name and kind in place of its factors."""
        row = finite_values(asdict(self))
        del row["factors"]
        return {"task": self.task, "effect": self.name, "kind": self.kind} | row


def effects(
    records: pd.DataFrame,
    design: Design,
    primary: str = "work_to_target",
    budget: Mapping[str, float | None] | None = None,
    margin: float = 1.10,
    alpha: float = 0.05,
    tasks: Sequence[str] | None = None,
) -> list[Effect]:
    """Every main effect and two-way interaction on every task: all their p values are adjusted together by Holm.

    The equivalence tests, of main effects alone, are a family of their own. `budget` and `tasks` as in `compare`;
    methods outside the design are ignored. Raises ConfigError as `compare` does.
    """
    check_records(records, primary, margin, alpha)
    known(records, "method", list(design.levels))
    blocks = [block(records, task, design, primary, (budget or {}).get(task)) for task in known(records, "task", tasks)]
    return judge_effects(blocks, design, margin, alpha)


def block(records: pd.DataFrame, task: str, design: Design, cost: str, tau: float | None = None) -> BlockedRuns:
    """The costs of all cells on one task, matched by seed."""
    runs = records[records["task"] == task]
    tau = budget_of(runs, cost) if tau is None else tau
    cells = [by_seed(runs[runs["method"] == name], cost) for name in design.levels]
    seeds = sorted(set.intersection(*map(set, cells)))
    t = np.array([[cell[seed] for cell in cells] for seed in seeds], dtype=float).reshape(len(seeds), len(cells))
    solved = t <= tau  # NaN, never reached, is False
    y = np.zeros(t.shape)
    y[solved] = np.log(t[solved] / tau)
    return BlockedRuns(task, cost, tau, len(set.union(*map(set, cells))) - len(seeds), y, solved)


@dataclass(frozen=True)
class Contrast(PerSeed):
    """One effect on one block: d of every seed, within [low, high] for what the budget cut off, shape (n,) each."""

    block: BlockedRuns
    factors: tuple[str, ...]
    d: Array
    low: Array
    high: Array
    censored_from: float
    censored_to: float
    solved_together: float

    @property
    def is_main(self) -> bool:
        return len(self.factors) == 1

    def _wilcoxon(self) -> float:
        """Over what d may be."""
        return wilcoxon_bounded(self.low, self.high)


def contrast(block: BlockedRuns, design: Design, effect: tuple[str, ...]) -> Contrast:
    """An effect per seed, rounded to 12 digits so that ties are ties.

    A censored y is too small by an unknown amount. Where its weight in an interaction is positive d has no upper
    bound, where it is negative d has no lower one.
    """
    weights = design.weights(effect)
    d: Array = (block.y @ weights).round(12)
    cut = ~block.solved
    cut_from, cut_to = cut[:, weights < 0], cut[:, weights > 0]
    low = high = d
    if len(effect) > 1:
        low = np.where(cut_from.any(axis=1), -math.inf, d)
        high = np.where(cut_to.any(axis=1), math.inf, d)
    together = np.array([block.solved[:, group].all(axis=1) for group in design.matched(effect)])
    return Contrast(block, effect, d, low, high, _share(cut_from), _share(cut_to), _share(together))


def _share(of: NDArray[np.bool_]) -> float:
    return float(of.mean()) if of.size else math.nan


def judge_effects(blocks: Sequence[BlockedRuns], design: Design, margin: float, alpha: float) -> list[Effect]:
    """The effects of one family of blocks: what `effects` does once the table is read."""
    family = [contrast(cells, design, effect) for cells in blocks for effect in design.effects]
    tested = adjust([member.p for member in family], [member.least_p for member in family], alpha)
    equal = iter(holm([member.p_tost(margin) for member in family if member.is_main]))
    drafts = [
        Effect(
            task=member.block.task,
            factors=member.factors,
            cost=member.block.cost,
            cells=len(design.levels),
            missing=member.block.missing,
            tau=member.block.tau,
            **_summary(member, alpha),
            p=test.p,
            p_holm=test.p_holm,
            p_attainable=test.p_attainable,
            p_tost=member.p_tost(margin) if member.is_main else None,
            p_tost_holm=next(equal) if member.is_main else None,
            censored_from=member.censored_from,
            censored_to=member.censored_to,
            solved_together=member.solved_together,
            needed=None,
            margin=margin,
            alpha=alpha,
            family=len(family),
        )
        for member, test in zip(family, tested, strict=True)
    ]
    return [replace(draft, verdict=_verdict(draft), needed=_needed(draft)) for draft in drafts]


def _summary(one: Contrast, alpha: float) -> dict[str, Any]:
    """As `summary_of`, the interval wide enough for wherever in [low, high] each d lies."""
    ends = hodges_lehmann(one.low, 1 - alpha)[1], hodges_lehmann(one.high, 1 - alpha)[2]
    return summary_of(one.d, alpha) | {"ci_low": math.exp(ends[0]), "ci_high": math.exp(ends[1])}


def _verdict(effect: Effect) -> str:
    if effect.kind == "main effect":
        return verdict(effect, effect.enough_solved)
    word = better_or_worse(effect.p_holm, effect.ratio, effect.alpha)
    return INTERACTIONS[word] if word else inconclusive(effect.p_holm, "n too small")


def _needed(effect: Effect) -> int | None:
    """Seeds that would settle it, where it is open and more seeds would help; no equivalence for an interaction."""
    is_open = _verdict(effect).startswith("inconclusive")
    if not (is_open and effect.enough_solved and effect.sd > 0):
        return None
    delta = math.log(effect.margin)
    if effect.kind == "main effect":
        return pairs_needed(effect.sd, delta, effect.alpha, effect.family)
    return max(effect.least_pairs, pairs_to_differ(effect.sd, delta, effect.alpha / effect.family))


Names = Mapping[str, tuple[str, str]]
