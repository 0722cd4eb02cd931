"""Options, groups of commands, messages and study lookup that the commands share."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from hfbench.errors import ConfigError
from hfbench.messages import quoted

if TYPE_CHECKING:
    from hfbench.config.study import Study


class Commands(TyperGroup):
    """Group of commands with an error message of our form for an unknown command."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands:
            from hfbench.messages import did_you_mean

            near, known = did_you_mean(args[0], self.commands), ", ".join(self.commands)
            raise ConfigError(f"no command {quoted(args[0])}{near}; known: {known}.")
        return super().resolve_command(ctx, args)


Results = Annotated[Path, typer.Option(envvar="HFBENCH_RESULTS", help="Folder of run records and the MLflow store.")]
StudyName = Annotated[str, typer.Argument(help="Name of a shipped study, or path of a .toml file.")]
Seeds = Annotated[str | None, typer.Option(help="A count (7), a list (3,5,8) or a range (10-19).")]
Only = Annotated[str | None, typer.Option(help="Methods to keep besides the baseline, separated by commas.")]
Jobs = Annotated[int | None, typer.Option(help="Number of parallel processes; by default one per core.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", help="key.path=value, overrides the study file; may be repeated.")
]
Data = Annotated[str | None, typer.Option(help="Folder searched before HFBENCH_DATA and the user cache.")]
From = Annotated[
    Path | None,
    typer.Option(
        "--from", help="Archive to read instead of the results folder: a file written by export, or `published`."
    ),
]
Latex = Annotated[
    bool, typer.Option("--latex", help="Write the report in LaTeX as well: tables for a paper, and figures as PDF.")
]
Plugin = Annotated[list[Path] | None, typer.Option(help="Python file that defines parts; may be repeated.")]


def print_error(message: str) -> None:
    from hfbench.execution.screen import as_typed_here

    print(f"hfbench: {as_typed_here(message)}", file=sys.stderr)


def help_if_alone(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        print(ctx.get_help(), file=sys.stderr)
        raise typer.Exit(2)


def jobs_of(given: int | None) -> int:
    """Number of parallel processes. Raises ConfigError if it is less than 1."""
    if given is not None and given < 1:
        raise ConfigError(f"--jobs: must be at least 1, but got {given}.")
    import joblib

    return given or int(joblib.cpu_count())


def loaded(plugins: Sequence[Path] | None) -> None:
    """Loads plugin files that no study names, and reports the broken ones."""
    from hfbench.parts.plugin_files import load_plugin

    with _telling_of_skipped():
        for file in plugins or ():
            load_plugin(file)


def study_of(
    name: str, seeds: str | None, only: str | None, sets: list[str] | None, plugins: Sequence[Path] | None
) -> Study:
    """The checked study with the options applied. Broken plugins and tasks that compare nothing are told on stderr."""
    from hfbench.config.coverage import uncompared
    from hfbench.config.load import load_study

    methods = [name.strip() for name in only.split(",")] if only is not None else []
    with _telling_of_skipped():
        study = load_study(name, overrides=sets or [], seeds=seeds, only=methods, plugin_files=plugins or [])
    for line in uncompared(study):
        print_error(line)
    return study


@contextmanager
def _telling_of_skipped() -> Iterator[None]:
    from hfbench.parts import registry

    told = set(registry.skipped)
    try:
        yield
    finally:
        for file, failed in registry.skipped.items():
            if file not in told:
                print_error(f"the plugin {file} could not be loaded and is skipped.\n{failed.traceback}")


def as_typed(
    seeds: str | None, only: str | None, sets: list[str] | None, plugins: Sequence[Path] | None = None
) -> list[str]:
    """The options that decide which runs belong to a study."""
    given = [
        *(("--plugin", str(file)) for file in plugins or []),
        *(("--seeds", seeds), ("--only", only)),
        *(("--set", assignment) for assignment in sets or []),
    ]
    return [word for option, value in given if value is not None for word in (option, value)]
