"""Links out of docs/: the files of the repository that pages link to, and their places in the site.

A Markdown file is a page of the site below `repository/`, a picture is copied there, and any other file is a page that
shows its source. The pages of docs/ keep their places.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from .formulas import outside_code

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BELOW = "repository"
PICTURES = (".png", ".svg")
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")
KINDS = {".py": "python", ".toml": "toml", ".json": "json"}


def place(file: Path) -> str:
    """The path in the site of a file of the repository."""
    if is_in_docs(file):
        return file.relative_to(DOCS).as_posix()
    kept = file.suffix in (".md", *PICTURES)
    return f"{BELOW}/{file.relative_to(ROOT).as_posix()}{'' if kept else '.md'}"


def is_in_docs(file: Path) -> bool:
    """Whether the file is a page or a picture of docs/."""
    return file.is_relative_to(DOCS) and file.suffix in (".md", *PICTURES)


def linked(text: str, file: Path) -> Iterator[Path]:
    """The files that a Markdown file links to or shows."""
    found: list[str] = []

    def note(prose: str) -> str:
        found.extend(link[1] for link in LINK.finditer(prose))
        return prose

    outside_code(text, note)
    yield from (_target(file, address) for address in found)


def moved(text: str, file: Path) -> str:
    """The text with its links as they lead from the file's place in the site."""
    home = Path(place(file)).parent

    def change(link: re.Match[str]) -> str:
        target = _target(file, link[1])
        if is_in_docs(file) and is_in_docs(target):
            return link[0]
        return f"]({Path(os.path.relpath(place(target), home)).as_posix()}{link[2] or ''})"

    return outside_code(text, lambda prose: LINK.sub(change, prose))


def files() -> list[Path]:
    """Every file outside of docs/ that a page of the site links to, or one of those in turn."""
    waiting, found = sorted(DOCS.rglob("*.md")), set[Path]()
    while waiting:
        file = waiting.pop()
        if file.suffix == ".md" and file.is_file():
            new = {target for target in linked(file.read_text("utf-8"), file) if not is_in_docs(target)} - found
            found |= new
            waiting += new
    return sorted(found)


def pages() -> dict[str, str]:
    """The Markdown of every such file that is no picture, by its path in the site."""
    return {place(file): _page(file) for file in files() if file.suffix not in PICTURES}


def pictures() -> dict[str, Path]:
    """Every such picture, by its path in the site."""
    return {place(file): file for file in files() if file.suffix in PICTURES}


def _page(file: Path) -> str:
    text = file.read_text("utf-8")
    if file.suffix == ".md":
        return moved(text, file)
    return f"# {file.relative_to(ROOT).as_posix()}\n\n````{KINDS.get(file.suffix, 'text')}\n{text.rstrip()}\n````\n"


def _target(file: Path, address: str) -> Path:
    """The file at a relative address; of a folder its README.md."""
    target = Path(os.path.normpath(file.parent / address))
    return target / "README.md" if target.is_dir() else target
