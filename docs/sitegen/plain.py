"""The documentation as plain Markdown and figures in one folder, for any site builder.

The pages written by hand lie beside those that are made, so that every link holds. What only mkdocs reads becomes what
others read: an anchor of a heading is an HTML anchor, and TeX stands between dollars.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from . import pages

DOCS = pages.ROOT / "docs"
KEPT = (".md", ".png", ".svg")  # of the files beside the pages; others serve mkdocs alone

CODE = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$|(`+)(?!`).+?(?<!`)\2(?!`)", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+ .*?) +\{ *#([^ }]+) *\}$", re.MULTILINE)
TEX = re.compile(r"\\([(\[]) *(.*?) *\\[)\]]", re.DOTALL)


def write(folder: Path) -> list[Path]:
    """Everything into a folder that is new or empty; gives the files. Raises ValueError for another."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"the folder must be new or empty, but {folder} is not.")
    texts = {path: (DOCS / path).read_text("utf-8") for path in _by_hand() if path.endswith(".md")} | pages.generated()
    files = {path: DOCS / path for path in _by_hand() if not path.endswith(".md")} | pages.figures()
    for path, text in texts.items():
        _below(folder, path).write_text(plain(text), encoding="utf-8")
    for path, file in files.items():
        shutil.copyfile(file, _below(folder, path))
    return sorted(folder / path for path in texts.keys() | files.keys())


def plain(page: str) -> str:
    """A page without what only mkdocs reads; code stays as it is."""
    page = HEADING.sub(r'<a id="\2"></a>\n\n\1', page)
    return _outside_code(page, lambda prose: TEX.sub(_in_dollars, prose))


def _outside_code(page: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for code in CODE.finditer(page):
        parts += [change(page[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, change(page[end:])])


def _in_dollars(tex: re.Match[str]) -> str:
    return f"$${tex[2]}$$" if tex[1] == "[" else f"${tex[2]}$"


def _by_hand() -> list[str]:
    found = (file for file in sorted(DOCS.rglob("*")) if file.suffix in KEPT)
    return [file.relative_to(DOCS).as_posix() for file in found if "sitegen" not in file.parts]


def _below(folder: Path, path: str) -> Path:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
