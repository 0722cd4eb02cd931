"""Text in LaTeX: whatever it holds, what is typeset is the text."""

from __future__ import annotations

import re
import string
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.latex_pages import text_of, typeset

from hfbench.messages import printable
from hfbench.report.document import Mono, Strong
from hfbench.report.latex import PREAMBLE
from hfbench.report.latex_text import COMMANDS, LETTERS, MATHEMATICS, inline_latex, literal_latex

SIGNS = "#$%&_{}~^\\<>ρλ×≤–\"'`|[]*-,!?"
NAMED = {command: sign for sign, command in COMMANDS.items()}
FORMULA = {command: sign for sign, command in MATHEMATICS.items()}
# What TeX reads: a command, a formula, a code point, a grouped or escaped sign, an empty group, or plain letters.
TOKEN = re.compile(
    r"\\allowbreak\{\}|\\text(?P<named>[a-z]+)\{\}|\\ensuremath\{(?P<formula>(?:[^{}]|\{[^{}]*\})+)\}"
    r"|\\texttt\{\{\[\}U\+(?P<point>[0-9A-F]+)\{\]\}\}|\\(?P<escaped>[{}$&#%_])|\{(?P<grouped>[\[\]*])\}|\{\}|(?P<tie>~)"
    r"|(?P<plain>[^\\{}$&#%_~^\[\]*]+)"
)
LIGATURES = {"--": "–", "''": "”", ",,": "„", "``": "“", "!`": "¡", "?`": "¿", "<<": "«", ">>": "»"}


def read(tex: str) -> str:
    """The text that TeX sets, by its rules for what may stand in it."""
    found, at = "", 0
    while at < len(tex):
        token = TOKEN.match(tex, at)
        assert token is not None, f"TeX would act on {tex[at : at + 20]!r}"
        at = token.end()
        for ligature, sign in LIGATURES.items():
            assert ligature not in (token["plain"] or ""), f"{ligature} is set as {sign}"
        assert set(token["plain"] or "") <= {*string.printable, *LETTERS}
        found += (
            (token["named"] and NAMED[f"text{token['named']}"])
            or (token["formula"] and FORMULA[token["formula"]])
            or (token["point"] and chr(int(token["point"], 16)))
            or (token["tie"] and "\xa0")
            or token["escaped"]
            or token["grouped"]
            or token["plain"]
            or ""
        )
    return found


def as_read(text: str) -> str:
    """The text as any document shows it: in one line, and without what cannot be printed."""
    return re.sub("[ \t\n\r\f\v]+", " ", unicodedata.normalize("NFC", printable(text)))


@given(st.text() | st.text(alphabet=SIGNS), st.integers(1, 50))
def test_what_is_typeset_is_the_text(text: str, unbroken: int) -> None:
    assert read(literal_latex(text, unbroken)).replace("\xa0", " ") == as_read(text).replace("\xa0", " ")


def test_no_line_ends_between_a_number_and_its_unit() -> None:
    assert literal_latex("95 % CI, 30 s") == r"95~\%~CI, 30~s"


def test_signs_of_tex_and_of_mathematics() -> None:
    assert literal_latex(r"5% of a_b & {c} #1 $x$ ~ ^ \end") == (
        r"5\% of a\_b \& \{c\} \#1 \$x\$ \textasciitilde{} \textasciicircum{} \textbackslash{}end"
    )
    assert literal_latex("ρ ≤ 3 × λ – n") == r"\ensuremath{\rho} \ensuremath{\leq} 3 × \ensuremath{\lambda} – n"
    assert literal_latex("a < b > --c") == r"a \textless{} b \textgreater{} -{}-c"
    assert literal_latex("é e\u0301 中") == r"é é \texttt{{[}U+4E2D{]}}"


def test_long_words_may_be_broken_after_their_signs() -> None:
    assert literal_latex("hf_lsmr_dynamic", 8) == r"hf\_\allowbreak{}lsmr\_\allowbreak{}dynamic"
    assert literal_latex(10 * "ab", 8) == r"abababab\allowbreak{}abababab\allowbreak{}abab"


def test_quotes_of_a_command_are_straight() -> None:
    assert inline_latex(("it's ", Mono("--set 'a'"), Strong("", "good"), Strong("so", "bad"))) == (
        r"it's \texttt{-{}-set \textquotesingle{}a\textquotesingle{}}\textbf{so}"
    )


@pytest.mark.latex
def test_pdflatex_sets_every_sign_that_it_is_given(tmp_path: Path) -> None:
    """Each on a line of its own, and any two signs of TeX side by side."""
    signs = [*(sign for sign in string.printable if not sign.isspace()), *sorted(LETTERS), *MATHEMATICS, "中"]
    pairs = [a + b for a in SIGNS for b in SIGNS]
    lines = [rf"{inline_latex(text)} & {inline_latex(Mono(text))} \\" for text in ("", *signs, *pairs)]
    table = "\n".join([r"\begin{longtable}{ll}", *lines, r"\end{longtable}"])
    (tmp_path / "signs.tex").write_text(f"{PREAMBLE}\\begin{{document}}\n{table}\n\\end{{document}}\n", "utf-8")
    pdf, warnings = typeset(tmp_path / "signs.tex")
    assert warnings == []
    shown = text_of(pdf)
    for sign in (*string.ascii_letters, *'#$%&_{}~\\<>|"[]*éßŁ×–≤ρλΣ∞', "[U+4E2D]"):
        assert sign in shown, sign
