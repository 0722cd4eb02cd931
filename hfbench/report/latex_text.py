"""Text in LaTeX: every sign stands for itself, whatever TeX would make of it.

Greek letters and signs of mathematics become commands, since pdfLaTeX has no letters for them. A sign that it has
neither letter nor command for, such as a Chinese one, is written as its code point: `[U+4E2D]`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from hfbench.messages import UNIT, printable
from hfbench.report.document import Mono, Piece, Text, pieces

UNBROKEN = 40  # characters of a word in a line of text, beyond which it may be broken
BREAK = r"\allowbreak{}"
TYPED_QUOTE = r"\textquotesingle{}"

COMMANDS = {
    "\\": "textbackslash", "~": "textasciitilde", "^": "textasciicircum", "<": "textless", ">": "textgreater",
    "|": "textbar", '"': "textquotedbl", "`": "textasciigrave",
}  # fmt: skip
GROUPED = "[]*"  # after the end of a row they would be read as its arguments
# Signs, each with its command in formulas.
FORMULAS = """
α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho
ς varsigma σ sigma τ tau υ upsilon φ phi χ chi ψ psi ω omega
Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Υ Upsilon Φ Phi Ψ Psi Ω Omega
≤ leq ≥ geq ≠ neq ≈ approx ≡ equiv ∼ sim ∝ propto ∞ infty ∑ sum ∏ prod √ surd ∂ partial ∇ nabla ∘ circ ⋅ cdot ‖ Vert
∈ in ∉ notin ∀ forall ∃ exists ∅ emptyset ∪ cup ∩ cap ⊂ subset ⊆ subseteq
← leftarrow → rightarrow ↔ leftrightarrow ⇒ Rightarrow ⇔ Leftrightarrow
""".strip()
RAISED = dict(zip("⁰⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱᵏᵀ", "0456789+-nikT", strict=True))
LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉ᵢⱼₖ", "0123456789ijk", strict=True))
MATHEMATICS = {
    **{sign: rf"\{name}" for sign, name in re.findall(r"(\S) (\w+)", FORMULAS)},
    **{sign: f"^{{{plain}}}" for sign, plain in RAISED.items()},
    **{sign: f"_{{{plain}}}" for sign, plain in LOWERED.items()},
    "−": "-",
    "\u2009": r"\,",
    "\u202f": r"\,",
}
# Signs that pdfLaTeX sets as they are, in its encodings T1 and TS1.
LETTERS = {*map(chr, range(0xA1, 0x180)), *"–—‘’‚“”„†‡•…‰€ȘșȚț"} - {*"\xadĦħĲĳĸĿŀŉŦŧſ"}
LIGATURES = ("--", "''", ",,")  # which TeX would set as one sign


def literal_latex(text: str, unbroken: int = UNBROKEN, quote: str = "'") -> str:
    """A text of one line as LaTeX that shows it. Words of more than `unbroken` characters may be broken.

    No line ends between a number and its unit.
    """
    shown = re.sub("[ \t\n\r\f\v]+", " ", unicodedata.normalize("NFC", printable(text)))
    shown = UNIT.sub("\N{NO-BREAK SPACE}", shown)
    words = (_parts(word, unbroken) for word in shown.split(" "))
    return " ".join(BREAK.join("".join(_signs(part, quote)) for part in parts) for parts in words)


def inline_latex(text: Text, unbroken: int = UNBROKEN) -> str:
    """A text within a line."""
    return "".join(_piece(piece, unbroken) for piece in pieces(text))


def _piece(piece: Piece, unbroken: int) -> str:
    if isinstance(piece, str):
        return literal_latex(piece, unbroken)
    if isinstance(piece, Mono):
        return mono_latex(piece.text, unbroken)
    said = literal_latex(piece.text, unbroken)
    return said if piece.tone == "faint" or not piece.text else rf"\textbf{{{said}}}"


def mono_latex(text: str, unbroken: int = UNBROKEN) -> str:
    """A text in a fixed-width font, its quotes as they are typed."""
    return rf"\texttt{{{literal_latex(text, unbroken, quote=TYPED_QUOTE)}}}"


def _parts(word: str, unbroken: int) -> list[str]:
    """The word, or parts of it between which it may be broken: after signs, and in what is still too long."""
    if len(word) <= unbroken:
        return [word]
    parts = re.findall(r"[^\W_]+[\W_]*|[\W_]+", word)
    return [part[i : i + unbroken] for part in parts for i in range(0, len(part), unbroken)]


def _signs(text: str, quote: str) -> Iterator[str]:
    before = ""
    for sign in text:
        if before + sign in LIGATURES:
            yield "{}"
        if sign in "{}$&#%_":
            yield rf"\{sign}"
        elif sign in COMMANDS:
            yield rf"\{COMMANDS[sign]}{{}}"
        elif sign in GROUPED:
            yield f"{{{sign}}}"
        elif sign in MATHEMATICS:
            yield rf"\ensuremath{{{MATHEMATICS[sign]}}}"
        elif sign == "'":
            yield quote
        elif sign == "\xa0":
            yield "~"
        elif sign.isascii() or sign in LETTERS:
            yield sign
        else:
            yield rf"\texttt{{{{[}}U+{ord(sign):04X}{{]}}}}"
        before = sign
