"""Gauss-Newton products with k vectors at once, against k products with one.

In a chain of dense layers the vectors stand side by side in every matrix product, so that the products are larger and
the calls fewer. Where a single product is at the speed of its matrix products already, that gains little, and two
vectors on few cases lose. Any other network multiplies by one vector after the other: its ratio is 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from benchmarks.problems import problem
from benchmarks.runner import Row
from benchmarks.timing import clock, take_turns
from hfbench.curvature.checked_linearisation import linearize
from hfbench.linalg.vector import Vector
from hfbench.runs.random_streams import generator

if TYPE_CHECKING:
    from benchmarks.runner import Options

TITLE = "Several vectors at once, against one product each"
COLUMNS = {
    "network": "network", "cases": "cases", "k": "k", "single_ms": "k single ms", "columns_ms": "at once ms",
    "ratio": "ratio", "low": "25 %", "high": "75 %",
}  # fmt: skip
NETWORKS = ("usps", "mnist")
CASES, KS = (64, 250, 1000, 4000), (2, 8, 32)


def rows(options: Options) -> Iterator[Row]:
    for network in NETWORKS[:1] if options.quick else NETWORKS:
        for cases in CASES[1:2] if options.quick else CASES:
            for k in KS[1:2] if options.quick else KS:
                yield compare(network, cases, k, options.threads)


def compare(network: str, cases: int, k: int, threads: int) -> Row:
    """Milliseconds of both, and the ratio within rounds."""
    task, draws = problem(network, cases), generator(0, "vectors")
    at = linearize(task.model, task.loss, task.inputs, task.targets)
    V = [Vector(torch.randn(p.shape, generator=draws) for p in task.model.parameters()) for _ in range(k)]
    rounds = take_turns(
        {"columns": lambda: at.gauss_newton_columns(V), "single": lambda: [at.gauss_newton(v) for v in V]},
        clock=clock(threads),
    )
    ratio = rounds.ratio("columns", "single")
    return {
        "network": network, "cases": cases, "k": k,
        "single_ms": 1e3 * rounds.median("single"), "columns_ms": 1e3 * rounds.median("columns"),
        "ratio": ratio.median, "low": ratio.low, "high": ratio.high,
    }  # fmt: skip
