"""Tables of results of a factorial ablation whose effects are known."""

import itertools

import numpy as np

from hfbench.statistics.factorial import Design, effects
from support.result_tables import runs

FACTORS = ("solver", "preconditioner", "scheduler")


def design(k=2):
    return Design(FACTORS[:k], {f"m{''.join(map(str, one))}": one for one in itertools.product((0, 1), repeat=k)})


def study(k=2, n=10, sd=0.1, seed=0, joint=0.0, task="usps", tau=1e6, **main):
    """A table of results with the given effects on the log cost, the first two factors' interaction, and noise."""
    rng = np.random.default_rng(seed)
    level = 100 * np.exp(0.3 * rng.standard_normal(n))
    costs = {}
    for method, levels in design(k).levels.items():
        mean = sum(main.get(factor, 0.0) * one for factor, one in zip(FACTORS, levels, strict=False))
        mean += joint if k > 1 and levels[0] == levels[1] == 1 else 0.0
        found = level * np.exp(mean + sd * rng.standard_normal(n))
        costs[method] = {s: cost if cost <= tau else None for s, cost in enumerate(found.tolist())}
    return runs(costs, task=task, tau=tau)


def by_name(records, k=2, **options):
    return {one.name: one for one in effects(records, design(k), **options)}


def cut(records, method, seeds):
    hidden = (records["method"] == method) & records["seed"].isin(seeds)
    return records.assign(work_to_target=records["work_to_target"].mask(hidden))
