"""Findings as plain rows, metrics and tags, for files and MLflow."""

from __future__ import annotations

from typing import Any

from hfbench.report import claim_text, comparison_text, effect_text
from hfbench.statistics.findings import Findings


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    """Plain rows by the name of the table; a table without rows is left out."""
    named = {
        "verdicts": comparison_text.rows(found.comparisons),
        "claims": [{**claim.to_row(), "sentence": claim_text.sentence(claim)} for claim in found.claims],
        "effects": [
            {**effect.to_row(), "sentence": effect_text.sentence(effect, found.names)} for effect in found.effects
        ],
        "secondary": [ratio.to_row() for ratio in found.secondary],
        "across_tasks": [overall.to_row() for overall in found.overall],
    }
    return {name: rows for name, rows in named.items() if rows}


def metrics(found: Findings) -> dict[str, float]:
    """`stat/<task>/<method>/<number>`: ratio and bounds; comparisons.json has all numbers."""
    return {
        f"stat/{comparison.task}/{comparison.method}/{name.removeprefix('stat/')}": value
        for comparison in found.comparisons
        for name, value in comparison.metrics().items()
    }


def tags(found: Findings) -> dict[str, str]:
    """The verdict of every comparison and effect, the ends of runs without the target, the answer to every claim."""
    compared = {
        f"verdict/{comparison.task}/{comparison.method}-vs-{comparison.baseline}": comparison.verdict
        for comparison in found.comparisons
    }
    incomplete = {
        f"not-at-target/{c.task}/{c.method}-vs-{c.baseline}": told
        for c in found.comparisons
        if (told := comparison_text.endings([c]))
    }
    answered = {f"claim/{claim.comparison.task}/{claim.hypothesis.name}": claim.answer for claim in found.claims}
    return (
        compared
        | incomplete
        | answered
        | {f"effect/{effect.task}/{effect.name}": effect.verdict for effect in found.effects}
    )
