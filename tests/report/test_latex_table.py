"""Tables in LaTeX: what stands in which column, points in line, and lines no longer than the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.latex_pages import typeset

from hfbench.report.document import Document, Mono, Strong, Table
from hfbench.report.latex import write_latex
from hfbench.report.latex_table import LONGEST, table_latex

RATIOS = Table(
    ("method", "ratio", "p Holm", "verdict"),
    [["hf_lsmr", "0.013x", ".031", Strong("better", "good")], ["adam", "12x", "<.001", "–"], ["sgd", "–", "1.000", ""]],
    words=1,
)


def rows_of(tex: str) -> list[str]:
    return re.findall(r"^ *(.* & .*) \\\\", tex, re.MULTILINE)


def test_a_table_is_a_float_with_caption_label_and_three_rules() -> None:
    assert table_latex(RATIOS, "Ratios.", "tab:s-ratios").splitlines() == [
        r"\begin{table}",
        r"  \centering",
        r"  \caption{Ratios.}\label{tab:s-ratios}\smallskip",
        r"  \small",
        r"  \begin{tabular}{lrrl}",
        r"    \toprule",
        r"    method & ratio & p Holm & verdict \\",
        r"    \midrule",
        r"    hf\_lsmr & 0.013x & .031 & \textbf{better} \\",
        r"    adam & 12x\phantom{.013} & \textless{}.001 & – \\",
        r"    sgd & – & 1.000 &  \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


@pytest.mark.parametrize(
    ("cells", "written"),
    [
        (["317", "70.1", "8.69"], [r"317\phantom{.69}", r"70.1\phantom{0}", "8.69"]),
        (["0.2-0.21x", "≤0.3x", "–"], ["0.2-0.21x", r"\ensuremath{\leq}0.3x\phantom{0}", "–"]),
        (["5/1/0", "10/0/0"], ["5/1/0", "10/0/0"]),
        (["0.5-0.7 (75 %)", "0.31-0.5"], [r"0.5-0.7 (75~\%)", "0.31-0.5"]),
    ],
)
def test_points_of_numbers_stand_below_each_other(cells: list[str], written: list[str]) -> None:
    tex = table_latex(Table(("m", "n"), [["a", cell] for cell in cells]), "c", "l")
    assert rows_of(tex)[1:] == [f"a & {cell}" for cell in written]


def test_long_heads_are_set_in_lines_and_a_table_without_heads_has_none() -> None:
    tex = table_latex(Table(("method", "final test error"), [["a", "1"]]), "c", "l")
    assert r"method & \begin{tabular}[b]{@{}r@{}}final test \\ error\end{tabular} \\" in tex
    assert r"\midrule" not in table_latex(Table(("", ""), [["a", "b"]], numbers=2), "c", "l")


def test_columns_of_words_share_the_room_that_narrow_ones_leave() -> None:
    long = "relative-progress (epsilon = 0.02, k_min = 3), " * 4
    tex = table_latex(Table(("method", "n", "parts", "rest"), [["hf", "1", long, long]], words=2), "c", "l")
    ragged = r"(?:>\{\\raggedright\\arraybackslash\}p\{0\.(\d+)\\linewidth\})"
    widths = re.search(rf"\{{lr{ragged}{ragged}\}}", tex)
    assert widths is not None
    assert widths[1] == widths[2]
    assert r"\addlinespace" in tex


def test_a_table_longer_than_a_page_is_broken_between_rows() -> None:
    rows = [["a", str(n)] for n in range(LONGEST + 1)]
    assert table_latex(Table(("m", "n"), rows[1:]), "c", "l").startswith(r"\begin{table}")
    long = table_latex(Table(("m", "n"), rows), "c", "l")
    assert r"\begin{longtable}{lr}" in long
    assert long.count(r"m & n \\") == 2  # on the first page, and on every other


@pytest.mark.latex
def test_no_table_sticks_out_of_the_page(tmp_path: Path) -> None:
    """Long names, keys, digests and many columns, as reports have them."""
    name = "hf_lsmr_chapelle-erhan_with-everything-else"
    interval = "0.023-0.024 [≤0.036 (93.7 %)] (n = 3)"
    tables = [
        RATIOS,
        Table(("method", *("distinct cases",) * 8), [[name, *[interval] * 8]]),
        Table(("task", "file", "sha256"), [["mnist", "mnist/train-images-idx3-ubyte.gz", Mono(64 * "a")]], numbers=3),
        Table(("task", "method", "key"), [["x" * 100, name, Mono(16 * "f")]] * 99, numbers=3, folded=True),
    ]
    write_latex(Document("tables", tables), tmp_path, "report")
    typeset(tmp_path / "report.tex")
    _, warnings = typeset(tmp_path / "report.tex")
    assert [said for said in warnings if float((re.findall(r"\((\d+\.\d)", said) or ["99"])[0]) > 4] == []
