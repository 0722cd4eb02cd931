"""The command line. Whatever is heavy is imported inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hfbench.errors import HfbenchError

if TYPE_CHECKING:
    from rich.console import Console

    from hfbench.data import DataFile

app = typer.Typer(
    name="hfbench",
    help="Hessian-free optimisers compared fairly: paired seeds, counted work, tested verdicts.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # brackets in help texts are no markup
)
data_app = typer.Typer(help="Data files: fetch, verify, or where they are looked for.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Results = Annotated[Path, typer.Option(envvar="HFBENCH_RESULTS", help="Folder of run records and the MLflow store.")]
Data = Annotated[str | None, typer.Option(help="Folder looked at before HFBENCH_DATA and the user cache.")]
Tasks = Annotated[list[str] | None, typer.Argument(help="Names of tasks; all if none is given.")]


def main() -> None:
    """The console script: an error a user can mend is one message on stderr and exit status 2."""
    try:
        app(prog_name="hfbench")
    except HfbenchError as error:
        print(f"hfbench: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        import hfbench

        print(f"hfbench {hfbench.__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="Name of a shipped study, or path of a .toml file.")],
    seeds: Annotated[str | None, typer.Option(help="A count (7), a list (3,5,8) or a range (10-19).")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at a time; by default one per core.")] = None,
    only: Annotated[str | None, typer.Option(help="Methods to run beside the baseline, separated by commas.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key.path=value over the study file; may be given repeatedly.")
    ] = None,
    results: Results = Path("results"),
    data: Data = None,
) -> None:
    """Run a study and print its verdicts; what has finished before is not repeated."""
    import joblib
    from rich.console import Console

    from hfbench.config import load_study
    from hfbench.studies.run import run_study

    methods = [name.strip() for name in only.split(",")] if only is not None else []
    checked = load_study(study, overrides=set_ or [], seeds=seeds, only=methods)
    raise typer.Exit(run_study(checked, results, jobs or joblib.cpu_count(), data, Console()))


@app.command("list")
def list_(
    family: Annotated[str | None, typer.Argument(help="solver, preconditioner, scheduler, task, rule, study.")] = None,
) -> None:
    """List parts and studies: family, name, origin and what they do."""
    from hfbench import registry
    from hfbench.config import shipped_studies
    from hfbench.errors import UnknownPartError
    from hfbench.space import did_you_mean

    known = (*registry.FAMILIES, "study")
    wanted = {"studies": "study"}.get(family, family.removesuffix("s")) if family else None
    if wanted not in (None, *known):
        raise UnknownPartError(f"no family {family!r}{did_you_mean(family, known)}; known: {', '.join(known)}.")
    rows = [
        (of, name, *_origin_and_line(of, name))
        for of in registry.FAMILIES
        if wanted in (None, of)
        for name in registry.names(of)
    ]
    if wanted in (None, "study"):
        rows += [("study", name, "shipped", question) for name, question in shipped_studies().items()]
    _print_table(_plain_console(), ("family", "name", "origin", "what it does"), rows)


def _origin_and_line(family: str, name: str) -> tuple[str, str]:
    """One broken plugin is a row that says so, and hides no other."""
    from hfbench import registry
    from hfbench.space import summary

    try:
        origin = registry.origin(family, name)
    except HfbenchError as error:
        return "", f"error: {error}"
    try:
        return origin, summary(registry.get(family, name))
    except HfbenchError as error:
        return origin, f"error: {error}"


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a part or of a shipped study.")]) -> None:
    """Show a part, with its hyper-parameters, or a shipped study."""
    from hfbench import registry
    from hfbench.config import shipped_studies
    from hfbench.errors import UnknownPartError
    from hfbench.space import did_you_mean

    console = _plain_console()
    studies = shipped_studies()
    families = [family for family in registry.FAMILIES if name in registry.names(family)]
    if not families and name not in studies:
        known = [*(one for family in registry.FAMILIES for one in registry.names(family)), *studies]
        raise UnknownPartError(f"no part or study {name!r}{did_you_mean(name, known)}; `hfbench list` lists them all.")
    for family in families:
        _show_part(console, family, name)
    if name in studies:
        _show_study(console, name)


def _show_part(console: Console, family: str, name: str) -> None:
    import inspect

    from hfbench import registry
    from hfbench.space import hyperparameters

    cls = registry.get(family, name)
    console.print(f"{family} {name} ({registry.origin(family, name)}): {cls.__module__}.{cls.__qualname__}")
    console.print(f"{inspect.getsourcefile(cls)}\n", soft_wrap=True)
    console.print(inspect.getdoc(cls) or "", "\n")
    rows = [
        (
            one.name,
            "(required)" if one.required else repr(one.default),
            one.allowed,
            str(one.search or ""),
            one.meaning,
        )
        for one in hyperparameters(cls)
    ]
    if rows:
        _print_table(console, ("name", "default", "allowed", "search", "meaning"), rows)
    else:
        console.print("It has no hyper-parameters.")


def _show_study(console: Console, name: str) -> None:
    from hfbench.config import load_study

    study = load_study(name)
    console.print(f"study {name}: {study.question}\n")
    rows = [
        ("tasks", ", ".join(f"{task} (target {target:g})" for task, target in study.targets.items())),
        ("seeds", ", ".join(map(str, study.seeds))),
        ("budget", ", ".join(f"{limit:g} {unit}" for unit, limit in study.budget.items()) or "of each task"),
        ("compares", f"{study.primary}, equivalent within a factor {study.margin:g}"),
        *(
            (
                f"{one.name} (baseline)" if one.name == study.baseline else one.name,
                f"{one.solver['use']}, {one.preconditioner['use']}, {one.scheduler['use']}",
            )
            for one in study.methods.values()
        ),
    ]
    _print_table(console, ("", ""), rows)


@data_app.command()
def fetch(tasks: Tasks = None, data: Data = None) -> None:
    """Download what is in none of the folders; everything is verified."""
    from hfbench.data import find, locate

    for file in _files(tasks):
        found = locate(file, data) if file.urls or not file.optional else find(file, data)
        print(f"{file.path}: {found or 'optional, not there'}")


@data_app.command()
def verify(tasks: Tasks = None, data: Data = None) -> None:
    """Check every file against its checksum; download nothing."""
    from hfbench.data import verify as verified
    from hfbench.errors import DataError

    problems = []
    for file in _files(tasks):
        try:
            found = verified(file, data)
        except DataError as error:
            problems.append(str(error))
        else:
            print(f"{file.path}: {f'{found}, verified' if found else 'optional, not there'}")
    if problems:
        raise DataError("\n".join(problems))


@data_app.command()
def where(tasks: Tasks = None, data: Data = None) -> None:
    """Print the folders looked at, in order, and where each file is."""
    from hfbench.data import where as folders

    searched, files = folders(data), _files(tasks)
    for folder in searched:
        print(folder)
    for file in files:
        found = next((path for folder in searched if (path := file.below(folder)).exists()), None)
        print(f"{file.path}: {found or 'not there'}")


def _files(tasks: list[str] | None) -> list[DataFile]:
    """The files of the tasks, each once."""
    from hfbench import registry

    files: dict[DataFile, None] = {}
    for name in tasks or registry.names("task"):
        files.update(dict.fromkeys(registry.get("task", name).files))
    return list(files)


@app.command()
def ui(
    results: Results = Path("results"),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Browse the recorded runs in the MLflow UI, on this machine only."""
    from hfbench import tracking

    tracking.ui(results, port)


def _plain_console() -> Console:
    """What plugins and files say is printed as it is, never read as markup."""
    from rich.console import Console

    return Console(markup=False, highlight=False, emoji=False)


def _print_table(console: Console, header: tuple[str, ...], rows: list[Any]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if any(header) else None, show_header=any(header), pad_edge=False)
    for place, title in enumerate(header):
        table.add_column(title, overflow="fold", no_wrap=place < len(header) - 1 and len(header) < 5)
    for row in rows:
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
