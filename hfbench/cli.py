"""The command line. Whatever is heavy is imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hfbench.errors import ConfigError, HfbenchError, UnknownPartError

if TYPE_CHECKING:
    from hfbench.config import Study
    from hfbench.data import DataFile

INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

# The base of all errors in what was typed: typer's own or click's, as the version has it.
UsageError: Any = typer.BadParameter.__mro__[1]


class Commands(TyperGroup):
    """A group of commands that says so itself if one is unknown."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands:
            from hfbench.space import did_you_mean

            near, known = did_you_mean(args[0], self.commands), ", ".join(self.commands)
            raise ConfigError(f"no command {args[0]!r}{near}; known: {known}.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="hfbench",
    cls=Commands,
    help="Hessian-free optimisers compared fairly: paired seeds, counted work, tested verdicts.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are no markup
)
data_app = typer.Typer(cls=Commands, help="Data files: fetch, verify, or where they are looked for.")
app.add_typer(data_app, name="data")

Results = Annotated[Path, typer.Option(envvar="HFBENCH_RESULTS", help="Folder of run records and the MLflow store.")]
StudyName = Annotated[str, typer.Argument(help="Name of a shipped study, or path of a .toml file.")]
Seeds = Annotated[str | None, typer.Option(help="A count (7), a list (3,5,8) or a range (10-19).")]
Only = Annotated[str | None, typer.Option(help="Methods to keep beside the baseline, separated by commas.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value over the study file; may be given repeatedly.")
]
Data = Annotated[str | None, typer.Option(help="Folder looked at before HFBENCH_DATA and the user cache.")]
Tasks = Annotated[list[str] | None, typer.Argument(help="Names of tasks; all if none is given.")]


# ---------------------------------------------------------------- errors and exit status


def main() -> None:
    """The console script: an error a user can mend is one message on stderr and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a ? for what the terminal's encoding lacks, not a traceback
    try:
        try:
            status = _status()
        finally:
            if sys.stdout is not None:  # it is where the shell has closed it (>&-)
                sys.stdout.flush()  # or Python does at its exit, where nobody can catch what it raises
    except BrokenPipeError:
        _let_go_of_stdout()
        status = 1
    sys.exit(status)


def _status() -> int:
    try:
        return int(app(prog_name="hfbench", standalone_mode=False) or 0)
    except HfbenchError as error:
        _complain(str(error))
    except UsageError as error:
        _complain(_usage(error))
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    return 2


def _complain(message: str) -> None:
    print(f"hfbench: {message}", file=sys.stderr)


def _usage(error: Any) -> str:
    """What typer has against the arguments, in one line."""
    if getattr(error, "possibilities", None) is not None:
        near = " or ".join(error.possibilities)
        text = f"no option {error.option_name}{f' (did you mean {near}?)' if near else ''}"
    else:
        said = error.format_message()
        text = said[:1].lower() + said[1:].rstrip(".")
    command = error.ctx.command_path if error.ctx is not None else "hfbench"
    return f"{text}; `{command} --help` shows what there is."


def _let_go_of_stdout() -> None:
    """The reader is gone, as of `hfbench list | head -1`; what is still buffered must go somewhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---------------------------------------------------------------- commands


def _print_version(wanted: bool) -> None:
    if wanted:
        import hfbench

        print(f"hfbench {hfbench.__version__}")
        raise typer.Exit()


def _help_if_alone(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help(), file=sys.stderr)
        raise typer.Exit(2)


@app.callback(invoke_without_command=True)
def _options(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    _help_if_alone(ctx)


data_app.callback(invoke_without_command=True)(_help_if_alone)


@app.command()
def run(
    study: StudyName,
    seeds: Seeds = None,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; by default one per core.")] = None,
    only: Only = None,
    set_: Sets = None,
    results: Results = Path("results"),
    data: Data = None,
) -> None:
    """Run a study and print its verdicts; what has finished before is not repeated."""
    from rich.console import Console

    from hfbench.studies.run import run_study

    checked = _checked(study, seeds, only, set_)
    chosen = _as_typed(seeds, only, set_)
    raise typer.Exit(run_study(checked, results, _jobs(jobs), data, Console(), chosen))


@app.command()
def sweep(
    study: StudyName,
    jobs: Annotated[int | None, typer.Option(help="Runs at a time; by default one per core.")] = None,
    set_: Sets = None,
    results: Results = Path("results"),
    data: Data = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Optuna storage in place of sweeps.db, such as postgresql+psycopg://user@host/name."),
    ] = None,
) -> None:
    """Tune a method: search its settings, test the best again, freeze, and compare on fresh seeds."""
    from rich.console import Console

    from hfbench.studies.sweep import sweep_study

    checked = _checked(study, None, None, set_)
    raise typer.Exit(sweep_study(checked, results, _jobs(jobs), data, Console(), storage, _as_typed(None, None, set_)))


@app.command()
def compare(
    study: StudyName,
    seeds: Seeds = None,
    only: Only = None,
    set_: Sets = None,
    results: Results = Path("results"),
    data: Data = None,
    from_: Annotated[
        Path | None, typer.Option("--from", help="An archive written by export, or `published`, in place of the runs.")
    ] = None,
) -> None:
    """Judge and report the recorded runs of a study, else its published ones; nothing is run."""
    from rich.console import Console

    from hfbench.studies.compare import compare_study

    checked = _checked(study, seeds, only, set_)
    raise typer.Exit(compare_study(checked, results, data, Console(), _as_typed(seeds, only, set_), from_))


@app.command()
def export(
    study: StudyName,
    file: Annotated[Path, typer.Argument(help="The archive to write, such as my-study.parquet.")],
    seeds: Seeds = None,
    only: Only = None,
    set_: Sets = None,
    results: Results = Path("results"),
    data: Data = None,
) -> None:
    """Write the recorded runs of a study to one file, for `compare --from` here or elsewhere."""
    from rich.console import Console

    from hfbench.studies.archive import export_study

    raise typer.Exit(export_study(_checked(study, seeds, only, set_), results, data, Console(), file))


def _jobs(given: int | None) -> int:
    """How many runs at a time."""
    if given is not None and given < 1:
        raise ConfigError(f"--jobs: must be at least 1, but got {given}.")
    import joblib

    return given or int(joblib.cpu_count())


def _checked(study: str, seeds: str | None, only: str | None, sets: list[str] | None) -> Study:
    from hfbench.config import load_study

    methods = [name.strip() for name in only.split(",")] if only is not None else []
    return load_study(study, overrides=sets or [], seeds=seeds, only=methods)


def _as_typed(seeds: str | None, only: str | None, sets: list[str] | None) -> list[str]:
    """The options that decide which runs belong to a study."""
    given = [("--seeds", seeds), ("--only", only), *(("--set", one) for one in sets or [])]
    return [word for option, value in given if value is not None for word in (option, value)]


@app.command("list")
def list_(
    family: Annotated[
        str | None, typer.Argument(help="solver, preconditioner, scheduler, task, rule, optimizer, study.")
    ] = None,
) -> None:
    """List parts and studies: name and what they do, and the origin of parts that are not hfbench's own."""
    from hfbench import registry
    from hfbench.describe import plain_console, print_list
    from hfbench.space import did_you_mean

    known = (*registry.FAMILIES, "study")
    wanted = {"studies": "study"}.get(family, family.removesuffix("s")) if family else None
    if wanted not in (None, *known):
        raise UnknownPartError(f"no family {family!r}{did_you_mean(family, known)}; known: {', '.join(known)}.")
    print_list(plain_console(), [kind for kind in known if wanted in (None, kind)])


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a part or of a shipped study, or globalization.")],
) -> None:
    """Show a part (formula, source, hyper-parameters), a shipped study, or the settings of globalization."""
    from hfbench import registry
    from hfbench.config import shipped_studies
    from hfbench.describe import plain_console, print_globalization, print_part, print_study
    from hfbench.space import did_you_mean

    console = plain_console()
    if name == "globalization":
        print_globalization(console)
        return
    studies = shipped_studies()
    families = [family for family in registry.FAMILIES if name in registry.names(family)]
    if not families and name not in studies:
        known = [*(one for family in registry.FAMILIES for one in registry.names(family)), *studies, "globalization"]
        raise UnknownPartError(f"no part or study {name!r}{did_you_mean(name, known)}; `hfbench list` lists them all.")
    for place, family in enumerate(families):
        if place:
            console.print()
        print_part(console, family, name)
    if name in studies:
        if families:
            console.print()
        print_study(console, name)


@data_app.command()
def fetch(tasks: Tasks = None, data: Data = None) -> None:
    """Download what is in none of the folders; everything is verified."""
    from hfbench.data import find, locate

    for task, files in _files(tasks).items():
        if all(file.optional for file in files):
            print(f"{task}: nothing to fetch, its data are generated")
        for file in files:
            found = locate(file, data) if file.urls or not file.optional else find(file, data)
            print(f"{file.path}: {found or 'optional, not there'}")


@data_app.command()
def verify(tasks: Tasks = None, data: Data = None) -> None:
    """Check every file against its checksum; download nothing."""
    from hfbench.data import missing, present
    from hfbench.data import verify as verified
    from hfbench.errors import DataError

    absent: dict[str, list[DataFile]] = {}
    problems = []
    for task, files in _files(tasks).items():
        if not files:
            print(f"{task}: nothing to verify, its data are generated")
        for file in files:
            if not file.optional and present(file, data) is None:
                absent.setdefault(task, []).append(file)
                continue
            try:
                found = verified(file, data)
            except DataError as error:
                problems.append(str(error))
            else:
                print(f"{file.path}: {f'{found}, verified' if found else 'optional, not there'}")
    if absent:
        lacking = list(dict.fromkeys(file for files in absent.values() for file in files))
        fetched = [task for task, files in absent.items() if any(file.urls for file in files)]
        cure = f"\nTo download: hfbench data fetch {' '.join(fetched)}" if fetched else ""
        problems.append(missing(lacking, data) + cure)
    for problem in problems:
        _complain(problem)
    if problems:
        raise typer.Exit(2)


@data_app.command()
def where(tasks: Tasks = None, data: Data = None) -> None:
    """Print the folders looked in, in order, and where each file is."""
    from hfbench.data import present
    from hfbench.data import where as places

    folders = [str(place) for place in places(data)]
    found = {file: present(file, data) for files in _files(tasks).values() for file in files}
    print("Folders, in the order they are looked in:", *folders, sep="\n  ")
    print("Files:")
    for file, path in found.items():
        print(f"  {file.path}: {path or 'not there'}{' (optional)' if file.optional and path is None else ''}")


def _files(tasks: list[str] | None) -> dict[str, tuple[DataFile, ...]]:
    """The files of each task."""
    from hfbench import registry

    return {name: tuple(registry.get("task", name).files) for name in tasks or registry.names("task")}


@app.command()
def ui(
    results: Results = Path("results"),
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Browse the recorded runs in the MLflow UI, on this machine only."""
    if not 1 <= port <= 65535:
        raise ConfigError(f"--port: must be 1 to 65535, but got {port}.")
    from hfbench import browse

    browse.ui(results, port)


if __name__ == "__main__":
    main()
