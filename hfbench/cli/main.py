"""Command line. Heavy imports stand inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from hfbench.cli import RESUMED
from hfbench.cli.data import data_app
from hfbench.cli.environment import ignored_variables
from hfbench.cli.options import (
    Commands,
    Data,
    From,
    Jobs,
    Latex,
    Only,
    Plugin,
    Results,
    Seeds,
    Sets,
    StudyName,
    as_typed,
    help_if_alone,
    jobs_of,
    print_error,
    study_of,
)
from hfbench.cli.parts import check, list_, new, schema, show
from hfbench.cli.probe import capture, probe_app
from hfbench.cli.simulate import simulate
from hfbench.errors import ConfigError, HfbenchError
from hfbench.execution.fork_server import start_server
from hfbench.execution.printable_streams import make_streams_printable
from hfbench.interrupts import interruptible, raise_if_interrupted, say_interrupted, signals_kept

# The base of all errors in what was typed: typer's own or click's, as the version has it.
UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="hfbench",
    cls=Commands,
    help="Hessian-free optimisers compared fairly: paired seeds, counted work, tested verdicts.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are no markup
)

# ---------------------------------------------------------------- errors and exit status


def main() -> None:
    """The console script. An error that the user can correct is one message on stderr and exit status 2."""
    make_streams_printable()
    try:
        try:
            with signals_kept():
                status = _status()
        finally:
            if sys.stdout is not None:  # it is where the shell has closed it (>&-)
                sys.stdout.flush()  # or Python does at its exit, where nobody can catch what it raises
    except BrokenPipeError:
        _let_go_of_stdout()
        status = 1
    sys.exit(status)


def _status() -> int:
    # What records as it goes ends between two pieces of work, anything else wherever it is.
    records = {*sys.argv[1:2]} & {*RESUMED}
    try:
        with nullcontext() if records else interruptible():
            status = int(app(prog_name="hfbench", standalone_mode=False) or 0)
        raise_if_interrupted()
        return status
    except HfbenchError as error:
        print_error(str(error))
    except UsageError as error:
        print_error(_usage(error))
    except (KeyboardInterrupt, typer.Abort) as interrupt:
        return say_interrupted(interrupt, lambda sentence: print(sentence, file=sys.stderr))
    except BaseException as error:
        if not _is_of_a_part(error):
            raise
        from hfbench.parts.plugin_errors import reason

        print_error(f"code of a plugin must not end the command, but raises {reason(error)}.")
    return 2


def _is_of_a_part(error: BaseException) -> bool:
    """Whether the exception comes from code of a plugin, whose SystemExit would be the status of the command."""
    from hfbench.parts.plugin_files import is_of_plugin_file
    from hfbench.parts.registry import modules_of_others

    names = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    others = modules_of_others()
    return any(is_of_plugin_file(name) or name.partition(".")[0] in others for name in names)


def _usage(error: Any) -> str:
    """One-line message for a usage error that typer found in the arguments."""
    if getattr(error, "possibilities", None) is not None:
        near = " or ".join(error.possibilities)
        text = f"no option {error.option_name}{f' (did you mean {near}?)' if near else ''}"
    else:
        said = error.format_message()
        text = said[:1].lower() + said[1:].rstrip(".")
    command = error.ctx.command_path if error.ctx is not None else "hfbench"
    return f"{text}; `{command} --help` shows what there is."


def _let_go_of_stdout() -> None:
    """Redirects stdout once its reader has gone, as in `hfbench list | head -1`: buffered text must go somewhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------- commands


def _print_version(wanted: bool) -> None:
    if wanted:
        import hfbench

        print(f"hfbench {hfbench.__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    help_if_alone(ctx)
    for line in ignored_variables(os.environ):
        print_error(line)


@app.command()
def run(
    study: StudyName,
    seeds: Seeds = None,
    jobs: Jobs = None,
    backend: Annotated[
        str, typer.Option(help="Where runs are made: processes (of this machine) or dask (a cluster).")
    ] = "processes",
    cluster: Annotated[
        str | None,
        typer.Option(help="Address of a running Dask cluster; by default hfbench starts one on this machine."),
    ] = None,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Start at least one run of every method on every task and predict the cost of the study."
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="Make share i of n of the runs only, given as i/n; `import` brings the shares together."),
    ] = None,
    only: Only = None,
    set_: Sets = None,
    plugin: Plugin = None,
    results: Results = Path("results"),
    data: Data = None,
    latex: Latex = False,
    make_weights: Annotated[
        bool,
        typer.Option("--make-weights", help="Make recorded runs without weights again, to keep their weights."),
    ] = False,
) -> None:
    """Run a study and print its verdicts. Runs that are already recorded are not repeated."""
    if backend == "processes":
        start_server()
    from hfbench.commands.run import run_study
    from hfbench.commands.run_plan import plan_study
    from hfbench.commands.run_shard import run_shard, shard_of
    from hfbench.execution.backends import engine_of
    from hfbench.execution.screen import Screen

    part = None if shard is None else shard_of(shard)
    checked = study_of(study, seeds, only, set_, plugin)
    chosen = as_typed(seeds, only, set_, plugin)
    if plan:
        if part is not None or (backend, cluster) != ("processes", None):
            raise ConfigError("--plan: predicts the whole study on this machine; leave --shard and --backend out.")
        if latex or make_weights:
            raise ConfigError("--plan: writes no report and makes no run again; leave --latex and --make-weights out.")
        raise typer.Exit(plan_study(checked, results, jobs_of(jobs), data, Screen()))
    if part is not None and (backend, cluster) != ("processes", None):
        raise ConfigError("--shard: is for jobs without a cluster; leave it out with --backend and --cluster.")
    if part is not None and (latex or make_weights):
        raise ConfigError(
            "--shard: only makes missing runs; leave --latex, which `import` takes, and --make-weights out."
        )
    with closing(engine_of(backend, cluster, None if jobs is None else jobs_of(jobs))) as engine:
        if part is None:
            here = results, engine.capacity, data, Screen(), chosen
            raise typer.Exit(run_study(checked, *here, engine=engine, in_latex=latex, make_weights=make_weights))
        raise typer.Exit(run_shard(checked, part, results, engine.capacity, data, Screen(), chosen, engine=engine))


@app.command("import")
def import_(
    study: StudyName,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(help="Results folders and archives to copy from; none if --results already holds all records."),
    ] = None,
    seeds: Seeds = None,
    only: Only = None,
    set_: Sets = None,
    plugin: Plugin = None,
    results: Results = Path("results"),
    data: Data = None,
    latex: Latex = False,
) -> None:
    """Copy records made elsewhere into a results folder, then judge and report all records there."""
    from hfbench.commands.import_records import import_study
    from hfbench.execution.screen import Screen

    checked = study_of(study, seeds, only, set_, plugin)
    chosen = as_typed(seeds, only, set_, plugin)
    raise typer.Exit(import_study(checked, sources or [], results, data, Screen(), chosen, in_latex=latex))


@app.command()
def sweep(
    study: StudyName,
    seeds: Annotated[
        str | None, typer.Option(help="Seeds of the comparison: a count (7), a list (3,5,8) or a range (10-19).")
    ] = None,
    jobs: Jobs = None,
    set_: Sets = None,
    plugin: Plugin = None,
    results: Results = Path("results"),
    data: Data = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Optuna storage instead of sweeps.db, such as postgresql+psycopg://user@host/name."),
    ] = None,
    latex: Latex = False,
) -> None:
    """Tune methods: search their settings, re-test the best, freeze one of each, and compare on fresh seeds."""
    start_server()
    from hfbench.commands.sweep import sweep_study
    from hfbench.execution.processes import Processes
    from hfbench.execution.screen import Screen

    checked = study_of(study, seeds, None, set_, plugin)
    chosen = as_typed(seeds, None, set_, plugin)
    with closing(Processes(jobs_of(jobs))) as engine:
        here = results, engine.capacity, data, Screen(), storage, chosen
        raise typer.Exit(sweep_study(checked, *here, engine=engine, in_latex=latex))


@app.command()
def compare(
    study: StudyName,
    seeds: Seeds = None,
    only: Only = None,
    set_: Sets = None,
    plugin: Plugin = None,
    results: Results = Path("results"),
    data: Data = None,
    from_: From = None,
    latex: Latex = False,
) -> None:
    """Judge and report the recorded runs of a study, or its published runs if none are recorded. Nothing is run."""
    from hfbench.commands.compare import compare_study
    from hfbench.execution.screen import Screen

    checked = study_of(study, seeds, only, set_, plugin)
    chosen = as_typed(seeds, only, set_, plugin)
    raise typer.Exit(compare_study(checked, results, data, Screen(), chosen, from_, in_latex=latex))


@app.command()
def export(
    study: StudyName,
    file: Annotated[Path, typer.Argument(help="The archive to write, such as my-study.parquet.")],
    seeds: Seeds = None,
    only: Only = None,
    set_: Sets = None,
    plugin: Plugin = None,
    results: Results = Path("results"),
    data: Data = None,
) -> None:
    """Write the recorded runs of a study to one file, which `compare --from` reads on any machine."""
    from hfbench.commands.export import export_study
    from hfbench.execution.screen import Screen

    raise typer.Exit(export_study(study_of(study, seeds, only, set_, plugin), results, data, Screen(), file))


@app.command()
def diagnose(
    study: Annotated[str, typer.Argument(help="Name or file of a study, or the key of a run.")],
    origin: Annotated[
        bool,
        typer.Option("--origin", help="Train diverged runs again and name the first quantity that was not finite."),
    ] = False,
    seeds: Seeds = None,
    only: Only = None,
    set_: Sets = None,
    plugin: Plugin = None,
    results: Results = Path("results"),
    data: Data = None,
    from_: From = None,
) -> None:
    """Find failure signatures in recorded runs, with evidence and remedy. Exit status 1 if there are any."""
    from hfbench.commands.diagnose import diagnose_run, diagnose_study, is_key
    from hfbench.execution.screen import Screen

    if is_key(study, results):
        if origin:
            raise ConfigError("--origin: needs the study, because it trains runs again, but got a run's key.")
        raise typer.Exit(diagnose_run(study, results, Screen()))
    checked = study_of(study, seeds, only, set_, plugin)
    chosen = as_typed(seeds, only, set_, plugin)
    raise typer.Exit(diagnose_study(checked, results, data, Screen(), chosen, from_, origin))


for command in (capture, simulate, list_, schema, show, new, check):
    app.command(command.__name__.rstrip("_"))(command)
app.add_typer(probe_app, name="probe")
app.add_typer(data_app, name="data")


@app.command()
def ui(
    results: Results = Path("results"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Browse the recorded runs in the MLflow UI, on this machine only."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port: must be 1 to 65535, but got {port}.")
    from hfbench.commands.ui import ui as open_ui

    open_ui(results, port)


if __name__ == "__main__":
    main()
