"""`hfbench probe solvers`: every solver on the identical frozen systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from hfbench.errors import ConfigError
from hfbench.execution.parallel_map import parallel_map
from hfbench.probe.frozen_system import FrozenSystem, notes_on
from hfbench.probe.judge import Exact, Judge
from hfbench.probe.pairwise import MEASURES, Ratio, ratios_of_solves
from hfbench.probe.solver_on_system import Arm, Solve, solve_and_judge
from hfbench.records.files import make_folder, write_atomically, write_json
from hfbench.report.wording import Name, digits, grid_of, number, p_value

RULE = "relative-progress"  # the stop that a table tells of: the runs' default


def probe_solvers(
    systems: Sequence[FrozenSystem],
    arms: Sequence[Arm],
    most: int,
    most_exact: int,
    into: Path,
    console: Console,
    data: str | None = None,
    jobs: int = 1,
) -> int:
    """Runs every arm on every system, prints the results, and writes rows, verdicts and figures to `into`."""
    make_folder(into)
    solves: list[Solve] = []
    exacts: dict[str, Exact] = {}
    calls = [(frozen, arms, most, most_exact, data) for frozen in systems]
    for frozen, (exact, here, notes) in zip(systems, parallel_map(_examine, calls, jobs, console), strict=True):
        for line in (frozen.told, exact.told, *notes):
            console.print(line, soft_wrap=True)
        if here:
            console.print(solve_table(here))
        exacts[frozen.name] = exact
        solves += here
    if not solves:
        raise ConfigError("no solver took any of the systems, so there is nothing to compare.")
    duels = [(a, b, ratios_of_solves(a, b)) for a, b in _duels(arms, solves)]
    for a, b, found in duels:
        if found:
            console.print(ratio_table(a[0].arm, b[0].arm, found))
        else:
            said = (
                f"{b[0].arm.name} over {a[0].arm.name}: nothing to compare, both solve every system in one iteration."
            )
            console.print(said, soft_wrap=True)
    for path in _write(into, systems, exacts, solves, duels):
        console.print(str(path), soft_wrap=True)
    return 0


def _examine(
    frozen: FrozenSystem, arms: Sequence[Arm], most: int, most_exact: int, data: str | None
) -> tuple[Exact, list[Solve], list[str]]:
    """The exact solution, the solves, and notes: on the system, and on each arm that does not take it."""
    judge = Judge(frozen, data)
    exact, solves, notes = judge.solve_exactly(most_exact), list[Solve](), notes_on(frozen, data)
    for arm in arms:
        try:
            solves.append(solve_and_judge(frozen, judge, arm, most, data))
        except ConfigError as error:
            notes.append(f"skipped: {arm.name}: {error}")
    return exact, solves, notes


# ---------------------------------------------------------------- tables


def solve_table(solves: Sequence[Solve]) -> Any:
    """Table of the point where the runs' rule stops each solver on one system, and the quality of its iterate there."""
    grid = grid_of(Text("Stopped by relative progress", style="bold"))
    for head in ("solver", "k", "1 - q/q*", "residual", "orth.", "Δf train", "Δf test"):
        grid.add_column(head, justify="left" if head == "solver" else "right")
    for solve in solves:
        row = solve.stopped(RULE)
        mark = "" if RULE in solve.stops else "+"
        numbers = [_short(row.get(name)) for name in ("gap", "residual", "orthogonality")]
        changes = [number(row[name]) for name in ("change_train", "change_test")]
        grid.add_row(Name(solve.arm.name), f"{row['k']}{mark}", *numbers, *changes)
    return grid


def _short(value: float | None) -> str:
    """`3.1e-6`, or a dash."""
    if value is None:
        return "–"
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def ratio_table(a: Arm, b: Arm, found: Sequence[Ratio]) -> Any:
    """Table of ratios b/a after equally many iterations."""
    grid = grid_of(Text(f"{b.name} over {a.name}, after equally many iterations", style="bold"))
    for head in ("measure", "k", "ratio", "95 % interval", "p_Holm", "systems", "verdict"):
        grid.add_column(head, justify="left" if head in ("measure", "verdict") else "right")
    last = ""
    for ratio in found:
        name = MEASURES[ratio.measure]
        interval = f"{digits(ratio.low)}-{digits(ratio.high)}" if ratio.low > 0 else "–"
        named = name if name != last else ""
        grid.add_row(
            named, str(ratio.k), digits(ratio.ratio), interval, p_value(ratio.p_holm), str(ratio.n), ratio.verdict
        )
        last = name
    return grid


def _duels(arms: Sequence[Arm], solves: Sequence[Solve]) -> Iterator[tuple[list[Solve], list[Solve]]]:
    """Pairs of arms: each one and the first with the same preconditioner, products, right-hand side and start.

    Each pair has the solves of the systems that both took, in order.
    """
    leaders: dict[tuple[str, ...], Arm] = {}
    for arm in arms:
        rest = arm.preconditioner, arm.products, arm.right_hand_side, arm.start
        a = leaders.setdefault(rest, arm)
        of = {side: {solve.system: solve for solve in solves if solve.arm == side} for side in (a, arm)}
        shared = [system for system in of[a] if system in of[arm]]
        if arm is not a and shared:
            yield [of[a][system] for system in shared], [of[arm][system] for system in shared]


# ---------------------------------------------------------------- files


def _write(
    into: Path,
    systems: Sequence[FrozenSystem],
    exacts: dict[str, Exact],
    solves: Sequence[Solve],
    duels: Sequence[tuple[Sequence[Solve], Sequence[Solve], Sequence[Ratio]]],
) -> Iterator[Path]:
    import pandas as pd

    from hfbench.probe.figures import draw_duels, draw_solvers

    for pattern in ("solvers-*.png", "solvers-*.svg", "duels.*"):  # of an earlier probe, of other systems
        for left in into.glob(pattern):
            left.unlink()
    rows = [{"system": solve.system, **asdict(solve.arm), **row} for solve in solves for row in solve.rows]
    path = into / "solvers.parquet"
    write_atomically(path, lambda temporary: pd.DataFrame(rows).to_parquet(temporary))
    yield path
    told = {
        "systems": {
            system.name: {
                "lambda": system.damping,
                "lambda_met": system.met,
                "iteration": system.iteration,
                "cases": len(system.gradient_cases),
                "exact_residual": exacts[system.name].residual,
                "exact_products": exacts[system.name].products,
                "slack": exacts[system.name].slack,
                "q": exacts[system.name].q,
            }
            for system in systems
        },
        "stops": [{"system": solve.system, "arm": solve.arm.name, "end": solve.end, **solve.stops} for solve in solves],
        "duels": [
            {"over": a[0].arm.name, "of": b[0].arm.name, **asdict(ratio), "verdict": ratio.verdict}
            for a, b, found in duels
            for ratio in found
        ],
    }
    write_json(into / "solvers.json", told)
    yield into / "solvers.json"
    if drawn := [(a, b) for a, b, found in duels if found]:
        yield from draw_duels(drawn, into / "duels")
    yield from draw_solvers(solves, into)
