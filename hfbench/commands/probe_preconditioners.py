"""`hfbench probe preconditioners`: condition, iterations and cost of each preconditioner on the identical systems."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from hfbench.errors import ConfigError
from hfbench.execution.parallel_map import parallel_map
from hfbench.parts import registry
from hfbench.probe.frozen_system import FrozenSystem, OpenedSystem, notes_on
from hfbench.probe.judge import Exact, Judge
from hfbench.probe.pairwise import centre
from hfbench.probe.preconditioner_on_system import GAPS, Row, Variant, conditioned, units
from hfbench.records.files import make_folder, write_atomically
from hfbench.report.wording import Name, digits, grid_of, number, p_value

MIDDLE = GAPS[1]
MOST_TABLES = 3  # systems with a table each on the screen


def probe_preconditioners(
    systems: Sequence[FrozenSystem],
    variants: Sequence[Variant],
    solver: str,
    most: int,
    most_exact: int,
    into: Path,
    console: Console,
    data: str | None = None,
    jobs: int = 1,
) -> int:
    """Tries every variant on every system, prints tables, and writes rows and figures to `into`.

    If an older system of the same run is among the systems, preconditioners built on it are tried as well. Of more than
    three systems only the summary is printed.
    """
    make_folder(into)
    rows: list[Row] = []
    calls = [(frozen, _older(frozen, systems), variants, solver, most, most_exact, data) for frozen in systems]
    for frozen, (exact, here, notes) in zip(systems, parallel_map(_examine, calls, jobs, console), strict=True):
        for line in (frozen.told, exact.told, *notes):
            console.print(line, soft_wrap=True)
        if here and len(systems) <= MOST_TABLES:
            console.print(condition_table(here, solver))
        rows += here
    if not rows:
        raise ConfigError("no preconditioner took any of the systems, so there is nothing to compare.")
    console.print(condition_summary(rows))
    for path in _write(rows, into):
        console.print(str(path), soft_wrap=True)
    return 0


def variants_of(names: Sequence[str], probes: Sequence[float], exponents: Sequence[float]) -> list[Variant]:
    """Variants: every preconditioner with its defaults, then with each other number of probes and exponent it can take.

    Raises as `registry.build` does for an unknown name or a value that is not allowed.
    """
    plain = [Variant((("use", name),)) for name in dict.fromkeys(names)]
    made = list(plain)
    for kind, values in (("probes", [int(value) for value in probes]), ("exponent", exponents)):
        for variant in plain:
            default = variant.setting(kind)
            others = [] if default is None else [value for value in dict.fromkeys(values) if value != default]
            made += [Variant((*variant.settings, (kind, value)), kind, float(value)) for value in others]
    for variant in made:
        registry.build("preconditioner", dict(variant.settings), "--preconditioners")
    return made


def _examine(
    frozen: FrozenSystem,
    older: Sequence[FrozenSystem],
    variants: Sequence[Variant],
    solver: str,
    most: int,
    most_exact: int,
    data: str | None,
) -> tuple[Exact, list[Row], list[str]]:
    """The exact solution, a row for each variant, and notes: on the system, and on variants that do not take it."""
    judge = Judge(frozen, data)
    exact, rows, notes = judge.solve_exactly(most_exact), list[Row](), notes_on(frozen, data)
    for variant, source in [*((variant, judge.opened) for variant in variants), *_aged(frozen, older, variants, data)]:
        try:
            found = conditioned(judge, variant, source, solver, most)
        except ConfigError as error:
            notes.append(f"skipped: {variant.name}: {error}")
            continue
        rows.append({"system": frozen.name, "moment": frozen.moment, "lambda": frozen.damping, **found})
    return exact, rows, notes


def _older(frozen: FrozenSystem, systems: Sequence[FrozenSystem]) -> list[FrozenSystem]:
    """Earlier systems of the same run with unchanged lambda, the latest first."""
    found = [
        other
        for other in systems
        if other.run == frozen.run and other.iteration < frozen.iteration and other.damping == other.met
    ]
    return sorted(found, key=lambda other: -other.iteration)


def _aged(
    frozen: FrozenSystem, older: Sequence[FrozenSystem], variants: Sequence[Variant], data: str | None
) -> Iterator[tuple[Variant, OpenedSystem]]:
    """The plain variants, built on older systems."""
    plain = [variant for variant in variants if variant.kind == "preconditioner" and variant.base != "identity"]
    for other in older:
        opened = other.open(data, "float64", preconditioner={"use": "identity"}, products="parameters")
        for row in plain:
            yield Variant(row.settings, "age", float(frozen.iteration - other.iteration)), opened


# ---------------------------------------------------------------- tables


def condition_table(rows: Sequence[Row], solver: str) -> Any:
    """Table of the variants on one system: work per case to build, condition, iterations and work to each accuracy."""
    title = f"{solver} from zero: iterations to a 1 - q/q*, work per case to {MIDDLE:g}"
    grid = grid_of(Text(title, style="bold"))
    for head in ("preconditioner", "build", "kappa", *(f"to {gap:g}" for gap in GAPS[:2]), "stops", "work"):
        grid.add_column(head, justify="left" if head == "preconditioner" else "right")
    for row in rows:
        reached = [_count(row[f"to_{gap:g}"]) for gap in GAPS[:2]]
        stops, work = _count(row["stops"]), number(units(row, MIDDLE))
        grid.add_row(Name(row["variant"]), f"{row['build']:.3g}", f"{row['condition']:.0f}", *reached, stops, work)
    return grid


def _count(k: int | None) -> str:
    return "–" if k is None else str(k)


def condition_summary(rows: Sequence[Row]) -> Any:
    """Table of iterations and work until the middle gap, relative to the first preconditioner on the same system."""
    grid = grid_of(Text(f"To 1 - q/q* = {MIDDLE:g}, over {rows[0]['variant']}", style="bold"))
    for head in ("preconditioner", "iterations", "95 % interval", "p", "work", "systems"):
        grid.add_column(head, justify="left" if head == "preconditioner" else "right")
    first = {row["system"]: row for row in reversed(rows) if row["variant"] == rows[0]["variant"]}
    for variant in dict.fromkeys(row["variant"] for row in rows):
        pairs = [(first[row["system"]], row) for row in rows if row["variant"] == variant and row["system"] in first]
        counts = [(float(a[f"to_{MIDDLE:g}"] or 0), float(b[f"to_{MIDDLE:g}"] or 0)) for a, b in pairs]
        works = [(units(a, MIDDLE) or 0.0, units(b, MIDDLE) or 0.0) for a, b in pairs]
        counts, works = ([(a, b) for a, b in some if a > 0 and b > 0] for some in (counts, works))
        if variant != rows[0]["variant"] and counts:
            ratio, low, high, p = centre(counts)
            work = centre(works)[0]
            cells = digits(ratio), _interval(low, high), p_value(p), digits(work), str(len(counts))
            grid.add_row(Name(variant), *cells)
    return grid


def _interval(low: float, high: float) -> str:
    return f"{digits(low)}-{digits(high)}" if low > 0 else "–"


# ---------------------------------------------------------------- files


def _write(rows: Sequence[Row], into: Path) -> Iterator[Path]:
    import pandas as pd

    from hfbench.probe.figures import draw_conditions

    path = into / "preconditioners.parquet"
    write_atomically(path, lambda temporary: pd.DataFrame(rows).to_parquet(temporary))
    yield path
    yield from draw_conditions(rows, into / "preconditioners")
