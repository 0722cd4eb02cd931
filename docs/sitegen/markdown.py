"""Tables and values as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hfbench.parts.hyperparameters import Hyperparameter, hyperparameters


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. Raises ValueError for an empty cell: what is not said is missing in the code."""
    lines = [_row(head), _row(["---"] * len(head))]
    for row in rows:
        if not all(cell.strip() for cell in row) or len(row) != len(head):
            raise ValueError(f"a row must fill {', '.join(head)}, but is {list(row)}.")
        lines.append(_row(row))
    return "\n".join(lines) + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def heading(title: str, anchor: str) -> str:
    """A heading of the second level that is found by this anchor, also where its words would give another."""
    line = f"## {title}\n"
    return line if slug(title) == anchor else f'<a id="{anchor}"></a>\n\n{line}'


def slug(title: str) -> str:
    """The anchor that code hosts make of a heading: letters, digits and hyphens, each space a hyphen."""
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


def code(text: str) -> str:
    return f"`{text}`"


def default(one: Hyperparameter) -> str:
    """The default as a study file has it."""
    if one.required:
        return "*must be given*"
    return "*not set*" if one.default is None else code(toml(one.default))


def toml(value: Any) -> str:
    """JSON writes strings, numbers, truth values and lists as TOML does, floats shortened to read well."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def allowed(one: Hyperparameter) -> str:
    """The values allowed, in words. TOML has no word for nothing: the key is then not there."""
    return re.sub(r"'([^']*)'", r'`"\1"`', one.allowed.removesuffix(" or nothing"))


def settings(part: type, anchor: str) -> str:
    """The table of a part's hyper-parameters, each row with an anchor of its own."""
    rows = []
    for setting in hyperparameters(part):
        name = f'<span id="{anchor}.{setting.name}"></span>{code(setting.name)}'
        rows.append([name, setting.meaning, default(setting), allowed(setting), search(setting)])
    return table(["setting", "meaning", "default", "allowed", "search range"], rows)


def search(one: Hyperparameter) -> str:
    return "*not searched*" if one.search is None else str(one.search)
