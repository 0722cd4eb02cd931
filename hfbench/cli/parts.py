"""Commands about parts: `list`, `schema`, `show`, `new` and `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hfbench.cli.options import Data, Plugin, loaded, print_error
from hfbench.errors import UnknownPartError
from hfbench.messages import quoted

Family = Annotated[str | None, typer.Argument(help="solver, preconditioner, scheduler, task, rule, optimizer, study.")]


def list_(
    family: Family = None,
    load: Annotated[
        bool, typer.Option("--load", help="Import every part, and show the error of each broken one.")
    ] = False,
    plugin: Plugin = None,
) -> None:
    """List parts and studies: name, purpose and owner. Without --load no part is imported."""
    from hfbench.commands.show import plain_console, print_list
    from hfbench.messages import did_you_mean
    from hfbench.parts import registry

    loaded(plugin)
    known = (*registry.FAMILIES, "study")
    wanted = {"studies": "study"}.get(family, family.removesuffix("s")) if family else None
    if wanted not in (None, *known):
        raise UnknownPartError(f"no family {quoted(family)}{did_you_mean(family, known)}; known: {', '.join(known)}.")
    print_list(plain_console(), [kind for kind in known if wanted in (None, kind)], load)
    for line in registry.misspelt_groups():
        print_error(line)


def schema(plugin: Plugin = None) -> None:
    """Print the JSON schema of study files, with which editors complete and check them."""
    import json

    from hfbench.config.schema import study_schema

    loaded(plugin)
    print(json.dumps(study_schema(), indent=1))


def show(
    name: Annotated[str, typer.Argument(help="Name of a part or study, path of a .toml file, or `globalization`.")],
    plugin: Plugin = None,
) -> None:
    """Show a part (formula, source, hyper-parameters), a study, or the settings of globalization."""
    from hfbench.commands.show import is_file, plain_console, print_globalization, print_part, print_study
    from hfbench.config.load import shipped_studies
    from hfbench.messages import did_you_mean
    from hfbench.parts import registry

    loaded(plugin)
    console = plain_console()
    if name == "globalization":
        print_globalization(console)
        return
    studies = shipped_studies()
    families = registry.families_of(name)
    is_study = name in studies or is_file(name)
    if not families and not is_study:
        known = [*(name for family in registry.FAMILIES for name in registry.names(family)), *studies, "globalization"]
        near = did_you_mean(name, known)
        why = registry.cure(name, near)
        raise UnknownPartError(f"no part or study {quoted(name)}{near}; `hfbench list` lists them all.{why}")
    for index, family in enumerate(families):
        if index:
            console.print()
        print_part(console, family, name)
    if is_study:
        if families:
            console.print()
        print_study(console, name)


def new(
    family: Annotated[str, typer.Argument(help="solver, preconditioner, scheduler or task.")],
    name: Annotated[str, typer.Argument(help="The part's name: small letters, digits and -, such as my-solver.")],
    into: Annotated[Path, typer.Option(help="Folder in which the package is created.")] = Path(),
) -> None:
    """Write a small package: a working part to adapt, its contract test, and a study that compares it."""
    from hfbench.commands.new import write_package
    from hfbench.execution.screen import as_typed_here

    print(as_typed_here(write_package(family, name, into)))


def check(
    names: Annotated[list[str] | None, typer.Argument(help="Names of parts; all if none is given.")] = None,
    plugin: Plugin = None,
    data: Data = None,
    limit: Annotated[
        float | None,
        typer.Option(min=1.0, help="Time limit of each check in seconds; by default 60, and 300 for tasks."),
    ] = None,
) -> None:
    """Check parts against the contracts of their families. Exit status 1 if one is broken."""
    from hfbench.commands.check import check_parts
    from hfbench.commands.show import plain_console

    loaded(plugin)
    raise typer.Exit(check_parts(names or [], plain_console(), data, limit))
