"""Screen: what is printed, with commands as the user must type them, `.venv/bin/hfbench ui` where it was started so.

Messages, reports and records say `hfbench ui`; how hfbench was started is put in here alone, on the way to the screen.
Here, too, texts are made printable: the only codes that reach the terminal are those of rich's own styles and bars.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from hfbench.execution.printable_streams import unfiltered
from hfbench.messages import UNIT, printable

JOINT = "\ue000"  # no space to rich, which breaks lines at all of Unicode's
COMMANDS = (
    *(
        "run",
        "import",
        "sweep",
        "compare",
        "export",
        "diagnose",
        "capture",
        "simulate",
        "list",
        "schema",
        "show",
        "new",
    ),
    *("check", "probe", "data", "ui"),
)
# The program's name before one of its commands, not as the end of a path.
TYPED = re.compile(rf"(?<![\w./-])hfbench(?= (?:{'|'.join(COMMANDS)})\b)")


class Screen(Console):
    """A console that shows texts as they are written, never as markup, links or codes of the terminal.

    Commands stand as they must be typed, and no number without its unit.
    """

    def __init__(self, **options: Any) -> None:
        plain: dict[str, Any] = {"file": unfiltered(sys.stdout), "markup": False, "emoji": False}
        super().__init__(**plain | options)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)  # before it is measured

    def render(self, renderable: Any, options: Any = None) -> Iterable[Segment]:
        if isinstance(renderable, str):
            renderable = self.render_str(renderable)
        if isinstance(renderable, Text):
            renderable = _typed(renderable)
            renderable.plain = UNIT.sub(JOINT, printable(renderable.plain))
        for segment in super().render(renderable, options):
            yield segment if segment.control else _literal(segment)


def _literal(segment: Segment) -> Segment:
    """The segment with nothing but its style: what is written to stderr under a bar may bring a link with it."""
    style = segment.style.update_link(None) if segment.style and segment.style.link else segment.style
    return Segment(printable(segment.text.replace(JOINT, " ")), style)


def _typed(text: Text) -> Text:
    """The text as `as_typed_here` has it, styled as it was."""
    typed, end = text.blank_copy(), 0
    for name in TYPED.finditer(text.plain):
        typed.append_text(text[end : name.start()]).append(program(sys.argv[0]))
        end = name.end()
    return typed.append_text(text[end:]) if end else text.copy()


def as_typed_here(message: str) -> str:
    """The message with the program as it was started."""
    return TYPED.sub(lambda _: program(sys.argv[0]), message)


def program(started: str) -> str:
    """How to start hfbench again, given what it was started as; `hfbench` where Python itself was started."""
    path = Path(started)
    if path.name == "__main__.py" and path.parent.name == "hfbench":
        return f"{typed_path(sys.executable)} -m hfbench"
    return typed_path(started) if path.stem == "hfbench" else "hfbench"


def typed_path(program: str) -> str:
    """Its name where the shell finds it by that, else its path: from here where it lies below, else in full."""
    if os.path.basename(program) == program:
        return program
    path = Path(os.path.abspath(program))  # links are not followed: an environment's python is one
    found = shutil.which(path.name)
    if found is not None and os.path.abspath(found) == str(path):
        return path.name
    here = Path.cwd()
    if path.parent == here:
        return shlex.quote(f"./{path.name}")
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
