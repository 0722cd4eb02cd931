"""Advice on the limits of a budget: one, in the unit that is compared."""

from __future__ import annotations

from collections.abc import Mapping

from hfbench.config.measures import MEASURES
from hfbench.messages import listed


def limit_advice(primary: str, budgets: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Advice for tasks whose runs may be ended by a limit in another unit than the cost compared."""
    unit = MEASURES[primary].limit
    without = [task for task, budget in budgets.items() if unit and unit not in budget]
    beside = [task for task, budget in budgets.items() if unit in budget and len(budget) > 1]
    why = "a run that another limit ends is known within bounds only, and verdicts take the worst case."
    said = []
    if without:
        said.append(f"Advice: limit {unit} on {listed(without)}, since {MEASURES[primary].noun} is compared: {why}")
    if beside:
        said.append(f"Advice: limit {unit} alone on {listed(beside)}, or so that other limits come later: {why}")
    return said
