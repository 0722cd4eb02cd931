"""`hfbench data`: fetch, verify and locate the files that tasks read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from hfbench.cli.options import Commands, Data, help_if_alone, print_error

if TYPE_CHECKING:
    from hfbench.parts.data_files import DataFile

data_app = typer.Typer(cls=Commands, help="Fetch, verify or locate the data files of tasks.")
data_app.callback(invoke_without_command=True)(help_if_alone)

Tasks = Annotated[list[str] | None, typer.Argument(help="Names of tasks; all if none is given.")]


@data_app.command()
def fetch(tasks: Tasks = None, data: Data = None) -> None:
    """Download the files that no data folder has, and verify all files."""
    from hfbench.parts.data_files import find_file, locate

    for task, files in _files(tasks).items():
        if all(file.optional for file in files):
            print(f"{task}: nothing to fetch, its data are generated")
        for file in files:
            found = locate(file, data) if file.urls or not file.optional else find_file(file, data)
            print(f"{file.path}: {found or 'optional, not there'}")


@data_app.command()
def verify(tasks: Tasks = None, data: Data = None) -> None:
    """Check every file against its checksum. Nothing is downloaded."""
    from hfbench.errors import DataError
    from hfbench.parts.data_files import missing_files, present
    from hfbench.parts.data_files import verify as verified

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
        problems.append(missing_files(lacking, data) + cure)
    for problem in problems:
        print_error(problem)
    if problems:
        raise typer.Exit(2)


@data_app.command()
def where(tasks: Tasks = None, data: Data = None) -> None:
    """Print the data folders in search order, and the path of each file."""
    from hfbench.parts.data_files import VARIABLE, present
    from hfbench.parts.data_files import where as places

    folders = [str(place) for place in places(data)]
    found = {file: present(file, data) for files in _files(tasks).values() for file in files}
    print("Folders, in search order:", *folders, sep="\n  ")
    if not os.environ.get(VARIABLE):
        print(f"{VARIABLE} is not set; it would be searched before the user cache.")
    print("Files:")
    for file, path in found.items():
        print(f"  {file.path}: {path or 'not there'}{' (optional)' if file.optional and path is None else ''}")


def _files(tasks: list[str] | None) -> dict[str, tuple[DataFile, ...]]:
    """The files of each task."""
    from hfbench.parts import registry

    return {name: tuple(registry.get("task", name).files) for name in tasks or registry.names("task")}
