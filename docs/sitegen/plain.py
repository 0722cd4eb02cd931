"""The documentation as plain Markdown and pictures in one folder, for any site builder.

Its pages are those of docs/, beside what they link to in the rest of the repository, so that every link holds. TeX
stands between dollars.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from . import outside
from .formulas import DOLLARS, rewritten


def write(folder: Path) -> list[Path]:
    """Everything into a folder that is new or empty; gives the files. Raises ValueError for another."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"the folder must be new or empty, but {folder} is not.")
    own = [file for file in sorted(outside.DOCS.rglob("*")) if outside.is_in_docs(file)]
    texts = {outside.place(file): outside.moved(file.read_text("utf-8"), file) for file in own if file.suffix == ".md"}
    pictures = {outside.place(file): file for file in own if file.suffix != ".md"}
    for path, text in (texts | outside.pages()).items():
        _below(folder, path).write_text(rewritten(text, DOLLARS), encoding="utf-8")
    for path, file in (pictures | outside.pictures()).items():
        shutil.copyfile(file, _below(folder, path))
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _below(folder: Path, path: str) -> Path:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target
