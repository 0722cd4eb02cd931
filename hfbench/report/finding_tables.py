"""Findings as plain rows, metrics and tags, for files and MLflow."""

from __future__ import annotations

from typing import Any

from hfbench.report import claim_text, comparison_text, effect_text
from hfbench.statistics.findings import Findings


def tables(found: Findings) -> dict[str, list[dict[str, Any]]]:
    """Plain rows by the name of the table; a table without rows is left out."""
    named = {
        "verdicts": comparison_text.rows(found.comparisons),
        "claims": [{**one.to_row(), "sentence": claim_text.sentence(one)} for one in found.claims],
        "effects": [{**one.to_row(), "sentence": effect_text.sentence(one, found.names)} for one in found.effects],
        "secondary": [one.to_row() for one in found.secondary],
        "across_tasks": [one.to_row() for one in found.overall],
    }
    return {name: rows for name, rows in named.items() if rows}


def metrics(found: Findings) -> dict[str, float]:
    """`stat/<task>/<method>/<number>`, `effect/<task>/<factors>/<number>` and `claim/<task>/<name>/<number>`."""
    named = [(f"stat/{one.task}/{one.method}", one.metrics()) for one in found.comparisons]
    named += [(f"effect/{one.task}/{one.name}", one.metrics()) for one in found.effects]
    named += [(f"claim/{one.comparison.task}/{one.hypothesis.name}", one.comparison.metrics()) for one in found.claims]
    return {
        f"{prefix}/{name.removeprefix('stat/')}": value for prefix, numbers in named for name, value in numbers.items()
    }


def tags(found: Findings) -> dict[str, str]:
    """The verdict of every comparison and effect, the answer to every claim."""
    compared = {f"verdict/{one.task}/{one.method}-vs-{one.baseline}": one.verdict for one in found.comparisons}
    answered = {f"claim/{one.comparison.task}/{one.hypothesis.name}": one.answer for one in found.claims}
    return compared | answered | {f"effect/{one.task}/{one.name}": one.verdict for one in found.effects}
