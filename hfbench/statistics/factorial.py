"""Factorial ablations: main effects and two-way interactions, blocked by seed, judged per task.

A full factorial of k factors has a cell (a method) for each of the 2ᵏ combinations of the factors' two ends, level 0
the `from` end and level 1 the `to` end. With y_{s,c} = log T of cell c at seed s,

    main effect of A:    d_s = mean of y over the cells with A = 1  −  mean of y over those with A = 0,
    interaction A × B:   d_s = (effect of A where B = 1)  −  (effect of A where B = 0), means over the other factors.

exp(d) of a main effect is the factor by which changing A multiplies the cost. exp(d) of an interaction is a ratio of
such ratios: the cost of changing both over what it would be if their effects multiplied. 1: they multiply. Below 1 is
called synergy, together they cost less than that; above 1 antagonism, together they cost more, each takes from the
other. All p values, one per effect and task, are one family. The sd of an interaction is twice that of a main effect
from the same runs, so that it takes four times the seeds.

Incomplete data. Of each cell's T is known what `run_costs.py` says, and so d lies within bounds. For the test of a main
effect two matched runs tie that both missed the target within a limit that all were given. The p of interactions, as
every ratio and interval, holds wherever in its bounds each d may lie.
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
from hfbench.statistics.bounds import Array, Bounds, open_where_unknown
from hfbench.statistics.difference import LEAST_SOLVED, Difference, adjust, finite_values, summary_of
from hfbench.statistics.location_tests import TESTS
from hfbench.statistics.paired_tests import holm
from hfbench.statistics.pairs import PerSeed, check_records, known
from hfbench.statistics.planning import pairs_needed, pairs_to_differ, sd_to_plan_with
from hfbench.statistics.run_costs import REACHED, costs_by_seed, log_bounds, on_one_hardware
from hfbench.statistics.verdict import verdict

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
    """The runs of one task in all cells, (n, 2ᵏ), a row per seed: log T within bounds, and how they ended."""

    task: str
    cost: str
    limit: float | None
    missing: int  # seeds without a run in some cell; they are left out
    y: Bounds
    missed: NDArray[np.bool_]  # whether the target was not reached within the limit
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
    censored_from: (
        float  # share of runs without the target: at the `from` end; of an interaction, with just one end `to`
    )
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
        """Share of all runs that did not reach the target: both weights cover half of the cells."""
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
    test: str = "wilcoxon",
) -> list[Effect]:
    """Every main effect and two-way interaction on every task: all their p values are adjusted together by Holm.

    The equivalence tests, of main effects alone, are a family of their own. `budget`, `tasks`, `test` as in `compare`;
    methods outside the design are ignored. Raises ConfigError as `compare` does.
    """
    check_records(records, primary, margin, alpha)
    known(records, "method", list(design.levels))
    blocks = [block(records, task, design, primary, (budget or {}).get(task)) for task in known(records, "task", tasks)]
    return judge_effects(blocks, design, margin, alpha, test)


def block(records: pd.DataFrame, task: str, design: Design, cost: str, limit: float | None = None) -> BlockedRuns:
    """The costs of all cells on one task, matched by seed."""
    runs = on_one_hardware(records[records["task"] == task], cost)
    most = math.inf if limit is None else limit
    cells = [costs_by_seed(runs[runs["method"] == name], cost, most) for name in design.levels]
    seeds = sorted(set.intersection(*map(set, cells)))
    rows = [[cell[seed] for cell in cells] for seed in seeds]
    shape = len(seeds), len(cells)
    y = log_bounds([cell for row in rows for cell in row])
    missed = np.array([[cell.low >= most for cell in row] for row in rows], dtype=bool).reshape(shape)
    solved = np.array([[cell.ended == REACHED for cell in row] for row in rows], dtype=bool).reshape(shape)
    missing = len(set.union(*map(set, cells))) - len(seeds)
    return BlockedRuns(task, cost, limit, missing, Bounds(y.low.reshape(shape), y.high.reshape(shape)), missed, solved)


@dataclass(frozen=True)
class Contrast(PerSeed):
    """One effect on one block: d of every seed within bounds, and what of it is tested, shape (n,) each."""

    block: BlockedRuns
    factors: tuple[str, ...]
    d: Bounds
    within: Bounds
    censored_from: float
    censored_to: float
    solved_together: float

    @property
    def is_main(self) -> bool:
        return len(self.factors) == 1


def contrast(block: BlockedRuns, design: Design, effect: tuple[str, ...]) -> Contrast:
    """An effect per seed, rounded to 12 digits so that ties are ties."""
    weights = design.weights(effect)
    d = _weighed(block.y, weights)
    cut = ~block.solved
    together = np.array([block.solved[:, group].all(axis=1) for group in design.matched(effect)])
    return Contrast(
        block, effect, d, _matched_pairs(block, design, effect) if len(effect) == 1 else d,
        _share(cut[:, weights < 0]), _share(cut[:, weights > 0]), _share(together),
    )  # fmt: skip


def _matched_pairs(block: BlockedRuns, design: Design, effect: tuple[str, ...]) -> Bounds:
    """Bounds of a main effect as the mean over pairs of cells that differ in it alone, 0 for two that both missed."""
    signs = np.sign(design.weights(effect))
    lows, highs = [], []
    for group in design.matched(effect):
        start, end = sorted(group, key=lambda cell: signs[cell])
        tie = block.missed[:, start] & block.missed[:, end]
        pair = Bounds(block.y.low[:, [start, end]], block.y.high[:, [start, end]])
        d = _weighed(pair, np.array([-1.0, 1.0]))
        lows.append(np.where(tie, 0.0, d.low))
        highs.append(np.where(tie, 0.0, d.high))
    with np.errstate(invalid="ignore"):
        return open_where_unknown(np.mean(lows, axis=0), np.mean(highs, axis=0))


def _weighed(y: Bounds, weights: Array) -> Bounds:
    """Bounds of y @ weights, shape (n,); infinite costs on both sides leave it open."""
    plus, minus = np.maximum(weights, 0), np.maximum(-weights, 0)
    with np.errstate(invalid="ignore"):
        low = _sums(y.low, plus) - _sums(y.high, minus)
        high = _sums(y.high, plus) - _sums(y.low, minus)
    return open_where_unknown(low, high)


def _sums(y: Array, weights: Array) -> Array:
    """y @ weights over the cells that have a weight: 0 · inf is nothing."""
    used = weights > 0
    return np.asarray(y[:, used] @ weights[used])


def _share(of: NDArray[np.bool_]) -> float:
    return float(of.mean()) if of.size else math.nan


def judge_effects(
    blocks: Sequence[BlockedRuns], design: Design, margin: float, alpha: float, test: str = "wilcoxon"
) -> list[Effect]:
    """The effects of one family of blocks: what `effects` does once the table is read."""
    by = TESTS[test]
    family = [contrast(cells, design, effect) for cells in blocks for effect in design.effects]
    tested = adjust([member.p(by) for member in family], [member.least_p for member in family], alpha)
    p_equal = [member.p_equivalent(by, margin) if member.is_main else None for member in family]
    equal = iter(holm([p for p, member in zip(p_equal, family, strict=True) if member.is_main]))
    drafts = [
        Effect(
            task=member.block.task,
            factors=member.factors,
            cost=member.block.cost,
            cells=len(design.levels),
            missing=member.block.missing,
            limit=member.block.limit,
            **summary_of(member, alpha, test),
            p=found.p,
            p_holm=found.p_holm,
            p_attainable=found.p_attainable,
            p_tost=p,
            p_tost_holm=next(equal) if member.is_main else None,
            censored_from=member.censored_from,
            censored_to=member.censored_to,
            solved_together=member.solved_together,
            needed=None,
            margin=margin,
            alpha=alpha,
            family=len(family),
        )
        for member, found, p in zip(family, tested, p_equal, strict=True)
    ]
    return [replace(draft, verdict=_verdict(draft), needed=_needed(draft)) for draft in drafts]


def _verdict(effect: Effect) -> str:
    if effect.kind == "main effect":
        return verdict(effect)
    return INTERACTIONS.get(effect.differs) or verdict(replace(effect, p_tost_holm=None))


def _needed(effect: Effect) -> int | None:
    """Seeds that would settle it, where it is open and more seeds would help; no equivalence for an interaction."""
    is_open = _verdict(effect).startswith("inconclusive")
    if not (is_open and effect.enough_solved and effect.sd > 0):
        return None
    sd, delta = sd_to_plan_with(effect.sd, effect.n), math.log(effect.margin)
    if effect.kind == "main effect":
        return pairs_needed(sd, delta, effect.alpha, effect.family, test=effect.test)
    return max(effect.least_pairs, pairs_to_differ(sd, delta, effect.alpha / effect.family, test=effect.test))


Names = Mapping[str, tuple[str, str]]
