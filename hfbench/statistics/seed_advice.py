"""Advice on the number of seeds, from the study file alone: families whose p values could not come out below alpha."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from hfbench.config.study import Study
from hfbench.messages import count
from hfbench.statistics.families import claimed, compared, factorial_of
from hfbench.statistics.looks import Look, within_reach
from hfbench.statistics.paired_tests import holm
from hfbench.statistics.pairs import LEAST_PAIRS, least_p


def seed_advice(study: Study) -> list[str]:
    """A sentence for each family of which a part can show no difference with the study's seeds, at any of its looks."""
    looks = within_reach(study)
    if not looks:
        fewest = min(len(on_task.seeds) for on_task in study.on.values())
        return [f"With {count(fewest, 'seed')} there is no verdict: the first look is declared at {study.looks[0]}."]
    design = factorial_of(study)
    families = (
        ("comparison", f" with '{study.baseline}'", [task for task, _ in compared(study)]),
        ("claim", "", [task for _, task in claimed(study)]),
        ("effect", "", [task for task in design[1] for _ in design[0].effects] if design else []),
    )
    return [said for noun, whose, tasks in families if (said := _advice(study, looks, noun, whose, tasks))]


def _advice(study: Study, looks: Sequence[Look], noun: str, whose: str, tasks: Sequence[str]) -> str:
    """`With 5 seeds no comparison can reach a verdict: 3 comparisons with 'hf' need at least 7 paired seeds.`"""
    hopeless = set.intersection(*(_hopeless(_seeds(study, tasks, look), look.alpha) for look in looks))
    if not hopeless:
        return ""
    last = looks[-1]
    n = _seeds(study, tasks, last)
    few = sorted({n[index] for index in hopeless})
    where = "" if len(hopeless) == len(tasks) else f" on {', '.join(dict.fromkeys(tasks[i] for i in sorted(hopeless)))}"
    # With six seeds two methods may still be found equivalent.
    able = "show a difference" if few[-1] >= LEAST_PAIRS else "be answered" if noun == "claim" else "reach a verdict"
    share = f" at the level of the last look, {100 * last.alpha:.3g} %" if last.seeds is not None else ""
    seeds = f"{' or '.join(map(str, few))} seed{'s' * (few != [1])}"
    family = f"{count(len(tasks), noun)}{whose} need{'s' * (len(tasks) == 1)}"
    least = _least(n, hopeless, last)
    return f"With {seeds} no {noun}{where} can {able}: {family} at least {least} paired seeds{share}."


def _seeds(study: Study, tasks: Sequence[str], look: Look) -> list[int]:
    return [len(study.on[task].seeds[: look.seeds]) for task in tasks]


def _hopeless(n: Sequence[int], alpha: float) -> set[int]:
    """The tests of a family, with so many seeds each, whose p after Holm is alpha or more whatever the runs say."""
    return {index for index, p in enumerate(holm([least_p(seeds) for seeds in n])) if p is None or p >= alpha}


def _least(n: Sequence[int], hopeless: set[int], look: Look) -> int:
    """The least seeds of the hopeless tests with which none of them is."""
    return next(
        seeds
        for seeds in itertools.count(LEAST_PAIRS)
        if not hopeless & _hopeless([max(seeds, own) if i in hopeless else own for i, own in enumerate(n)], look.alpha)
    )
