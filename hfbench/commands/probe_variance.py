"""`hfbench probe variance`: the noise that a batch estimates, against the truth from all the data.

Truth    over all N training cases: g, V = ‖Var_i(∇f_i)‖₁ and W = Var_i(g_iᵀg). A batch S of n cases drawn without
         replacement has E‖g_S - g‖² = V/n · (N - n)/N, which is checked against the mean over the batches drawn
Estimate of every batch: ‖g_S‖, V_S and W_S, as a run's schedulers get them
Decision what a scheduler does next with either; it errs where the batch's decision to grow is not the truth's
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.execution.parallel_map import parallel_map
from hfbench.linalg.vector import Vector
from hfbench.parts import registry
from hfbench.parts.protocols import BatchPlan, Evidence, Schedule
from hfbench.probe.frozen_system import FrozenSystem, OpenedSystem, notes_on
from hfbench.probe.part_errors import parts_named
from hfbench.records.files import make_folder, write_atomically
from hfbench.report.wording import Name, digits, grid_of
from hfbench.runs import batches
from hfbench.runs.random_streams import generator

Row = dict[str, Any]
CHUNK = 2048  # cases in memory at once, of all the data


@dataclass(frozen=True)
class Noise:
    """Gradient of a set of cases, weight decay included, and the variance of its cases' gradients."""

    gradient: Vector
    norm: float
    variance_l1: float
    variance_inner: float

    def evidence(self, n: int) -> Evidence:
        """Evidence as a scheduler gets it after a step with n cases, while the validation error improves."""
        return Evidence(1, n, self.norm, self.variance_l1, 1.0, self.variance_inner)


def noise_of(opened: OpenedSystem, inputs: Any, targets: Any) -> Noise:
    at = Linearisation(opened.model, opened.task.loss, inputs, targets, chunk=CHUNK)
    g = at.gradient + opened.optimizer.weights * opened.optimizer.mu_D
    return Noise(g, g.norm(), at.variance_l1, at.variance_along(g))


def probe_variance(
    systems: Sequence[FrozenSystem],
    schedulers: Sequence[str],
    sizes: Sequence[int],
    draws: int,
    into: Path,
    console: Console,
    data: str | None = None,
    jobs: int = 1,
) -> int:
    """Draws batches of every size at the weights of every system, prints tables, writes rows and a figure to `into`."""
    make_folder(into)
    rows: list[Row] = []
    moments = list({system.moment: system for system in systems}.values())  # lambda has no part in it
    calls = [(frozen, schedulers, sizes, draws, data) for frozen in moments]
    for frozen, (here, notes) in zip(moments, parallel_map(_examine, calls, jobs, console), strict=True):
        for line in notes:
            console.print(line, soft_wrap=True)
        console.print(estimates(here, frozen))
        console.print(decisions(here))
        rows += here
    for path in _write(rows, into):
        console.print(str(path), soft_wrap=True)
    return 0


def _examine(
    frozen: FrozenSystem, schedulers: Sequence[str], sizes: Sequence[int], draws: int, data: str | None
) -> tuple[list[Row], list[str]]:
    """The rows, and notes on the system."""
    opened = frozen.open(data)
    train = opened.data.train
    within = [n for n in sizes if 2 <= n <= len(train)]
    if not within:
        raise ConfigError(f"--batches: must have sizes from 2 to {len(train)}, the training cases of {frozen.moment}.")
    truth, rows = noise_of(opened, train.inputs, train.targets), list[Row]()
    for n in within:
        stream, plan = generator(opened.spec.seed, f"variance/{n}"), BatchPlan(n, n, "random", "")
        cases = [batches.draw_cases(plan, 1, len(train), stream)[0] for _ in range(draws)]
        drawn = [noise_of(opened, *batches.take(train, some)) for some in cases]
        rows += _rows(frozen, n, len(train), truth, drawn, schedulers)
    return rows, notes_on(frozen, data)


def _rows(
    frozen: FrozenSystem, n: int, total: int, truth: Noise, drawn: Sequence[Noise], schedulers: Sequence[str]
) -> Iterator[Row]:
    """A row for each scheduler."""
    V = np.array([batch.variance_l1 for batch in drawn]) / truth.variance_l1
    W = np.array([batch.variance_inner for batch in drawn]) / truth.variance_inner
    norms = np.array([batch.norm**2 for batch in drawn]) / truth.norm**2
    errors = [(batch.gradient - truth.gradient).norm() ** 2 for batch in drawn]
    predicted = truth.variance_l1 / n * (total - n) / total
    common = {
        "system": frozen.moment,
        "n": n,
        "total": total,
        "draws": len(drawn),
        "variance": float(V.mean()),  # over the truth
        "variance_sd": float(V.std(ddof=1)) if len(V) > 1 else 0.0,
        "inner": float(W.mean()),
        "inner_sd": float(W.std(ddof=1)) if len(W) > 1 else 0.0,
        "gradient": float(norms.mean()),  # ‖g_S‖² over ‖g‖²
        "noise": predicted / truth.norm**2,  # E‖g_S - g‖² over ‖g‖²
        "noise_seen": float(np.mean(errors)) / predicted if predicted > 0 else 1.0,
    }
    for name in schedulers:
        right = _next(name, n, total, truth)
        sizes = np.array([_next(name, n, total, batch) for batch in drawn])
        grows = sizes > n
        yield {
            **common,
            "scheduler": name,
            "should_grow": bool(right > n),
            "grows": float(grows.mean()),
            "wrong": float((grows != (right > n)).mean()),
            "next": float(np.median(sizes)),
            "next_true": right,
        }


def _next(name: str, n: int, total: int, noise: Noise) -> int:
    """The batch that the scheduler plans after one of n cases."""
    settings = {"use": name, "start": float(n), "max_growth": float(total)}
    with parts_named([("scheduler", name)]):
        schedule: Schedule = registry.build("scheduler", settings, "--schedulers").begin(total)
        return schedule.next(noise.evidence(n)).gradient


def check_schedulers(names: Sequence[str]) -> None:
    """Raises ConfigError for a scheduler that is unknown, or that does not grow a batch from a given start."""
    for name in names:
        registry.build("scheduler", {"use": name, "start": 10.0, "max_growth": 2.0}, "--schedulers")


# ---------------------------------------------------------------- tables


def estimates(rows: Sequence[Row], frozen: FrozenSystem) -> Any:
    """Table by batch size: the batches' estimates relative to the truth, and the noise."""
    title = f"{frozen.moment}: {rows[0]['draws']} batches of each size"
    grid = grid_of(Text(title, style="bold"))
    for head in ("cases", "V_S/V", "sd", "W_S/W", "sd", "|g_S|²/|g|²", "noise/|g|²"):
        grid.add_column(head, justify="right")
    for row in rows:
        if row["scheduler"] == rows[0]["scheduler"]:
            told = [f"{row[name]:.2f}" for name in ("variance", "variance_sd", "inner", "inner_sd", "gradient")]
            grid.add_row(str(row["n"]), *told, digits(row["noise"]))
    return grid


def decisions(rows: Sequence[Row]) -> Any:
    """Table by batch size: how often a scheduler's decision to grow differs from the truth's, and its next batch."""
    grid = grid_of(Text("What schedulers do next, and should", style="bold"))
    for head in ("scheduler", "cases", "grows", "wrong", "next", "truth"):
        grid.add_column(head, justify="left" if head == "scheduler" else "right")
    last = ""
    for row in sorted(rows, key=lambda row: str(row["scheduler"])):
        grows, wrong = (f"{100 * row[name]:.0f} %" for name in ("grows", "wrong"))
        named = row["scheduler"] if row["scheduler"] != last else ""
        grid.add_row(Name(named), str(row["n"]), grows, wrong, f"{row['next']:.0f}", str(row["next_true"]))
        last = row["scheduler"]
    return grid


def _write(rows: Sequence[Row], into: Path) -> Iterator[Path]:
    import pandas as pd

    from hfbench.probe.figures import draw_variance

    path = into / "variance.parquet"
    write_atomically(path, lambda temporary: pd.DataFrame(rows).to_parquet(temporary))
    yield path
    yield from draw_variance(rows, into / "variance")
