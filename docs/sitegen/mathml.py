"""Formulas as MathML, which browsers draw themselves: no script, no font from elsewhere."""

from __future__ import annotations

import html
import re

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)

NORM = "<mo>&#x02016;</mo>"


def replaced(page: str) -> str:
    """The page with the TeX that pymdownx.arithmatex marked turned into MathML."""
    return FORMULA.sub(_mathml, page)


def _mathml(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    display = "block" if found[2] == "[" else "inline"
    formula = convert(html.unescape(found[3]).strip(), display=display)
    formula = formula.replace(NORM, NORM.replace("<mo>", '<mo stretchy="false">'))  # or one of a pair grows alone
    return f'<div class="formula">{formula}</div>' if display == "block" else formula
