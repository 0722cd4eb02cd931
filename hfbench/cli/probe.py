"""Commands about frozen systems: `capture` and `probe`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfbench.cli.options import (
    Commands,
    Data,
    Jobs,
    Only,
    Plugin,
    Results,
    Seeds,
    Sets,
    StudyName,
    help_if_alone,
    jobs_of,
    loaded,
    study_of,
)
from hfbench.errors import ConfigError
from hfbench.messages import quoted

if TYPE_CHECKING:
    from hfbench.probe.frozen_system import FrozenSystem

WHOLE = ("--at", "--probes", "--batches")  # options that are counts

probe_app = typer.Typer(
    cls=Commands, help="Compare solvers, preconditioners and variance estimates on identical frozen systems."
)

Systems = Annotated[list[Path], typer.Argument(help="Files that `hfbench capture` wrote, or folders of them.")]
Into = Annotated[Path | None, typer.Option(help="Folder for the results; by default next to the systems.")]


@probe_app.callback(invoke_without_command=True)
def _alone(ctx: typer.Context) -> None:
    help_if_alone(ctx)


def capture(
    study: StudyName,
    at: Annotated[str, typer.Option(help="Outer iterations at which systems are frozen.")] = "2,8,32",
    damping: Annotated[
        str, typer.Option(help="Factors of lambda; each system is written once per factor.")
    ] = "1,0.01,100",
    into: Annotated[Path, typer.Option(help="Folder for the systems.")] = Path("systems"),
    seeds: Seeds = "0-0",
    only: Only = None,
    set_: Sets = None,
    plugin: Plugin = None,
    results: Results = Path("results"),
    data: Data = None,
) -> None:
    """Freeze linear systems of a study's runs: early, middle and late, with lambda unchanged and changed.

    The runs are trained again from their start, exactly as `hfbench run` makes them. No record is needed or written.
    """
    from hfbench.commands.capture import capture_study
    from hfbench.execution.screen import Screen

    iterations = [int(number) for number in _numbers("--at", at)]
    checked = study_of(study, seeds, only, set_, plugin)
    raise typer.Exit(capture_study(checked, iterations, _numbers("--damping", damping), into, results, data, Screen()))


@probe_app.command()
def solvers(
    systems: Systems,
    solvers: Annotated[str, typer.Option(help="Names of solvers; all are compared with the first.")] = "cg,lsqr,lsmr",
    preconditioners: Annotated[str | None, typer.Option(help="Names of preconditioners; by default the run's.")] = None,
    precision: Annotated[str, typer.Option(help="Precisions of the curvature products.")] = "parameters",
    rhs: Annotated[
        str, typer.Option(help="Right-hand sides of the least-squares form: auto, residual, damping.")
    ] = "auto",
    start: Annotated[
        str,
        typer.Option(
            help="Initial iterate: warm (as in the run), zero, or previous (the solution of the step before)."
        ),
    ] = "warm",
    iterations: Annotated[int, typer.Option(min=1, help="Maximum number of inner iterations.")] = 150,
    exact: Annotated[
        int, typer.Option(min=1, help="Maximum number of float64 products for the exact solution.")
    ] = 1000,
    into: Into = None,
    jobs: Jobs = None,
    plugin: Plugin = None,
    data: Data = None,
) -> None:
    """Compare solvers on identical systems: the quality of each iterate, and where each rule would stop."""
    from hfbench.commands.probe_solvers import probe_solvers
    from hfbench.execution.screen import Screen
    from hfbench.probe.solver_on_system import arms_of

    loaded(plugin)
    found = _read(systems)
    used = preconditioners or ",".join(dict.fromkeys(system.run["method"]["preconditioner"]["use"] for system in found))
    arms = arms_of(_names(solvers), _names(used), _names(precision), _names(rhs), _names(start))
    folder = into or _beside(systems) / "probe-solvers"
    raise typer.Exit(probe_solvers(found, arms, iterations, exact, folder, Screen(), data, jobs_of(jobs)))


@probe_app.command()
def preconditioners(
    systems: Systems,
    preconditioners: Annotated[
        str, typer.Option(help="Names of preconditioners; all are compared with the first.")
    ] = "identity,martens,chapelle-erhan,kfac",
    probes: Annotated[
        str, typer.Option(help="Numbers of random probes to try, for preconditioners that draw them.")
    ] = "1,2,4,8",
    exponents: Annotated[
        str, typer.Option(help="Exponents alpha to try, for preconditioners that have one.")
    ] = "0.5,0.75,1",
    solver: Annotated[str, typer.Option(help="Solver to precondition.")] = "cg",
    iterations: Annotated[int, typer.Option(min=1, help="Maximum number of inner iterations.")] = 1000,
    exact: Annotated[
        int, typer.Option(min=1, help="Maximum number of float64 products for the exact solution.")
    ] = 1000,
    into: Into = None,
    jobs: Jobs = None,
    plugin: Plugin = None,
    data: Data = None,
) -> None:
    """Compare preconditioners on identical systems: condition number, iterations to a given accuracy, cost to build.

    If systems of several iterations of one run are given, preconditioners built on older ones are tried on newer ones.
    """
    from hfbench.commands.probe_preconditioners import probe_preconditioners, variants_of
    from hfbench.execution.screen import Screen
    from hfbench.parts import registry

    loaded(plugin)
    found = _read(systems)
    registry.build("solver", solver, "--solver")
    variants = variants_of(_names(preconditioners), _numbers("--probes", probes), _numbers("--exponents", exponents))
    folder = into or _beside(systems) / "probe-preconditioners"
    raise typer.Exit(
        probe_preconditioners(found, variants, solver, iterations, exact, folder, Screen(), data, jobs_of(jobs))
    )


@probe_app.command()
def variance(
    systems: Systems,
    batches: Annotated[str, typer.Option(help="Batch sizes, separated by commas.")] = "25,50,100,250,500,1000",
    draws: Annotated[int, typer.Option(min=2, help="Number of batches of each size.")] = 200,
    schedulers: Annotated[str, typer.Option(help="Names of schedulers that grow the batch.")] = "dynamic,inner-product",
    into: Into = None,
    jobs: Jobs = None,
    plugin: Plugin = None,
    data: Data = None,
) -> None:
    """Compare a batch's estimate of its own noise with the truth from all the data, and the decisions of schedulers."""
    from hfbench.commands.probe_variance import check_schedulers, probe_variance
    from hfbench.execution.screen import Screen

    loaded(plugin)
    found, names = _read(systems), _names(schedulers)
    check_schedulers(names)
    sizes = [int(n) for n in _numbers("--batches", batches)]
    folder = into or _beside(systems) / "probe-variance"
    raise typer.Exit(probe_variance(found, names, sizes, draws, folder, Screen(), data, jobs_of(jobs)))


def _beside(systems: list[Path]) -> Path:
    first = systems[0]
    return first if first.is_dir() else first.parent


def _read(paths: list[Path]) -> list[FrozenSystem]:
    """The systems in files and folders, in order of iteration and lambda. Raises StoreError for a file that is none."""
    from hfbench.probe.frozen_system import SUFFIX, read_system

    files = [file for path in paths for file in (sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path])]
    if not files:
        raise ConfigError(f"no *{SUFFIX} files in {', '.join(map(str, paths))}; `hfbench capture` writes them.")
    found: dict[str, tuple[Path, FrozenSystem]] = {}
    for file in dict.fromkeys(files):
        one = read_system(file)
        if one.name in found:
            raise ConfigError(f"{file} and {found[one.name][0]} are both the system {one.name}: give one of them.")
        found[one.name] = file, one
    return sorted((system for _, system in found.values()), key=_place)


def _place(one: FrozenSystem) -> tuple[Any, ...]:
    """Sort key: run, then iteration, then lambda, the largest first."""
    return one.run["task"], one.run["method"]["name"], one.run["seed"], one.iteration, -one.damping


def _names(given: str) -> list[str]:
    return list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))


def _numbers(option: str, given: str) -> list[float]:
    """Positive numbers separated by commas; whole numbers for options that are counts."""
    kind = "whole numbers from 1" if option in WHOLE else "positive numbers"
    try:
        numbers = [float(number) for number in given.split(",")]
    except ValueError:
        numbers = [math.nan]
    if not all(0 < number < math.inf and (number.is_integer() or option not in WHOLE) for number in numbers):
        raise ConfigError(f"{option}: must be {kind}, separated by commas, but got {quoted(given)}.")
    return list(dict.fromkeys(numbers))
