"""Facts of a part, `Label      what`, as an HTML list: lines of formulas are kept, prose flows."""

from __future__ import annotations

import re
from html import escape

LABEL = re.compile(r"(\S+) {2,}(\S.*)")
PROSE = ("Source", "Symbols", "Cost", "Monotone", "Requires", "Takes", "Files", "Format")
FORMULA = re.compile(r" (=|←|<=|>=|≤|↦) ")


def html(text: str) -> str:
    """A `<dl>` for each run of labelled lines, a paragraph for what has no label."""
    blocks: list[tuple[str, list[str]]] = []  # label, or none for a paragraph; and its lines
    for line in text.splitlines():
        label = LABEL.match(line)
        if label:
            blocks.append((label[1], [label[2]]))
        elif line.startswith(" ") and blocks and blocks[-1][0]:
            blocks[-1][1].append(line.strip())
        elif line.strip():
            _add_prose(blocks, line)
        else:
            blocks.append(("", []))
    return _joined([(label, lines) for label, lines in blocks if lines])


def _add_prose(blocks: list[tuple[str, list[str]]], line: str) -> None:
    if blocks and not blocks[-1][0]:
        blocks[-1][1].append(line)
    else:
        blocks.append(("", [line]))


def _joined(blocks: list[tuple[str, list[str]]]) -> str:
    """Neighbours with labels share one list."""
    out, in_list = [], False
    for label, lines in blocks:
        if bool(label) != in_list:
            out.append('<dl class="facts">' if label else "</dl>")
            in_list = bool(label)
        body = _body(label, lines)
        out.append(f"<dt>{escape(label)}</dt><dd>{body}</dd>" if label else f"<p>{body}</p>")
    return "\n".join([*out, *(["</dl>"] if in_list else [])])


def _body(label: str, lines: list[str]) -> str:
    is_aligned = any("   " in line for line in lines)
    is_formula = label not in PROSE and (is_aligned or all(FORMULA.search(line) for line in lines[1:]))
    text = escape(("\n" if is_formula else " ").join(lines)).replace("\n", "<br>")
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
