"""Reference page of the command line, read from the typer app."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import typer

from hfbench.cli.main import app

from .markdown import code, heading, table

INTRO = """# Command line

Exit status: 0 done, 1 some runs failed or a check found something, 2 bad input, 130 interrupted, 143 by SIGTERM.
What can be mended is one message on stderr. `hfbench --version` prints the version, `--help` after any command what it
takes.
"""
VALUES = {int: "number", float: "number", str: "text", Path: "path"}


def commands() -> Iterator[tuple[str, Any]]:
    """Every command by its full name, `run` or `data fetch`, groups left out, in the order of the app."""
    yield from _commands("", typer.main.get_command(app))


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for word, below_it in below.items():
        yield from _commands(f"{name} {word}".strip(), below_it)


def page() -> str:
    found = [(name, command) for name, command in commands() if not command.hidden]
    listed = [[f"[{code(f'hfbench {name}')}](#{anchor(name)})", _first(command)] for name, command in found]
    return "\n".join([INTRO, table(["command", "what it does"], listed), *(_entry(*entry) for entry in found)])


def anchor(name: str) -> str:
    return f"hfbench-{name}".replace(" ", "-")


def _entry(name: str, command: Any) -> str:
    hints = get_type_hints(command.callback, include_extras=False)
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [
        param for param in command.params if param.param_type_name == "option" and not param.hidden and param.help
    ]
    usage = " ".join(["hfbench", name, *map(_in_usage, arguments), *(["[OPTIONS]"] if options else [])])
    parts = [heading(f"hfbench {name}", anchor(name)), f"{command.help}\n", f"```text\n{usage}\n```\n"]
    if arguments:
        rows = [[code(argument.name.upper()), argument.help, _default(argument, command)] for argument in arguments]
        parts.append(table(["argument", "what", "default"], rows))
    if options:
        rows = [[_names(option, hints), _meaning(option), _default(option, command)] for option in options]
        parts.append(table(["option", "what", "default"], rows))
    return "\n".join(parts)


def _first(command: Any) -> str:
    return str(command.help).partition("\n")[0]


def _in_usage(argument: Any) -> str:
    shown = argument.name.upper() + ("..." if argument.nargs != 1 else "")
    return shown if argument.required else f"[{shown}]"


def _names(option: Any, hints: dict[str, Any]) -> str:
    """`--seeds TEXT`, a switch without a value."""
    kind = _plain(hints[option.name])
    value = "" if kind is bool else f" {VALUES.get(kind, 'text').upper()}"
    return code(" ".join([*option.opts]) + value)


def _plain(hint: Any) -> Any:
    """`str` of `str | None` and of `list[str] | None`."""
    if get_origin(hint) in (Union, UnionType):
        return _plain(next(option for option in get_args(hint) if option is not NoneType))
    return _plain(get_args(hint)[0]) if get_origin(hint) is list else hint


def _meaning(option: Any) -> str:
    from_environment = f" Or the environment variable {code(option.envvar)}." if option.envvar else ""
    return f"{option.help}{from_environment}"


def _default(parameter: Any, command: Any) -> str:
    if parameter.required:
        return "*must be given*"
    value = inspect.signature(command.callback).parameters[parameter.name].default
    if value is None or value is inspect.Parameter.empty:
        return "*not set*"
    return "*off*" if value is False else "*on*" if value is True else code(str(value))
