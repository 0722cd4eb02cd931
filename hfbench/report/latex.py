"""Document as LaTeX: a file that compiles by itself, and a file for each of its tables, for a paper to input.

Every text is literal, as in Markdown and HTML. The packages that are needed come with every distribution of LaTeX.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from hfbench.records.files import write_bytes
from hfbench.records.study_home import StudyHome
from hfbench.report.document import Block, Bullets, Code, Document, Heading, ImageBlock, Paragraph, Table
from hfbench.report.figure_files import list_figures
from hfbench.report.latex_table import table_latex
from hfbench.report.latex_text import inline_latex, literal_latex, mono_latex

NARROW = 60  # characters of a heading in the name of a file or a label

PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{textcomp}
\usepackage[margin=25mm]{geometry}
\usepackage{array,booktabs,float,graphicx,longtable}
\floatplacement{table}{H}
\floatplacement{figure}{H}
\setlength{\emergencystretch}{4em}
\makeatletter % figures are as large as they were drawn, or as the page allows
\def\maxwidth{\ifdim\Gin@nat@width>\linewidth\linewidth\else\Gin@nat@width\fi}
\def\maxheight{\ifdim\Gin@nat@height>0.8\textheight 0.8\textheight\else\Gin@nat@height\fi}
\setkeys{Gin}{width=\maxwidth,height=\maxheight,keepaspectratio}
\makeatother
\setlength{\parindent}{0pt}
\setlength{\parskip}{0.7ex plus 0.3ex}
"""
OF_TABLE = r"""% Written by hfbench. In the preamble of a paper that inputs this table:
% \usepackage[T1]{fontenc} \usepackage{array,booktabs,longtable}
"""


def write_latex(document: Document, folder: Path, name: str) -> list[Path]:
    """Writes `name`.tex and the tables that it inputs, in place of those of an earlier call, and returns the paths."""
    texts = {folder / file: text for file, text in latex_files(document, name).items()}
    for file, text in texts.items():
        write_bytes(file, text.encode())
    list_latex(folder, name, texts)
    return list(texts)


def list_latex(folder: Path, name: str, written: Iterable[Path]) -> None:
    """Lists the files in LaTeX among those written to a folder, and removes those of an earlier list besides."""
    if files := [path.name for path in written if path.suffix == ".tex"]:
        list_figures(folder / f"{name}-latex.json", files)


def is_wanted(asked: bool, place: StudyHome, name: str) -> bool:
    """Whether `name`.tex is asked for now, or was before: what a paper may use must not lag behind the report."""
    there = [place.folder, *([place.home] if place.speaks_for_the_study else [])]
    return asked or any((folder / f"{name}.tex").is_file() for folder in there)


def latex_files(document: Document, name: str) -> dict[str, str]:
    """The text of each file by its name: `name`.tex and, for every table, `name`-<the headings above it>.tex."""
    tables: dict[str, str] = {}
    body: list[str] = []
    study, section, heading = _slug(document.title), "", ""
    for block in document.blocks:
        if isinstance(block, Heading):
            section, heading = (block.text, "") if block.level == 2 else (section, block.text)
        if isinstance(block, Table):
            where = _free(_slug(f"{section} {block.name or heading}"), tables)
            caption = literal_latex(block.caption or heading or section)
            tables[where] = table_latex(block, caption, f"tab:{study}-{where}")
            body.append(rf"\input{{{name}-{where}.tex}}")
        else:
            body.append("\n".join(_block(block, study)))
    head = rf"\title{{{literal_latex(document.title)}}}" + "\n" + r"\author{}\date{}"
    text = "\n\n".join([PREAMBLE + head, r"\begin{document}" + "\n" + r"\maketitle", *body, r"\end{document}"])
    return {f"{name}.tex": f"{text}\n", **{f"{name}-{where}.tex": f"{OF_TABLE}{it}\n" for where, it in tables.items()}}


def _slug(text: str) -> str:
    """A text as part of the name of a file or a label."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:NARROW].strip("-") or "table"


def _free(name: str, taken: Collection[str]) -> str:
    """The name, with the first number from 2 that is free if it is taken."""
    numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
    return next(free for free in (name, *numbered) if free not in taken)


def _block(block: Block, study: str) -> Iterator[str]:
    if isinstance(block, Heading):
        yield rf"\{'section' if block.level == 2 else 'subsection'}*{{{literal_latex(block.text)}}}"
    elif isinstance(block, Paragraph):
        yield _paragraph(block)
    elif isinstance(block, Bullets):
        items = (rf"  \item {inline_latex(item)}" for item in block.items)
        yield from (r"\begin{itemize}", *items, r"\end{itemize}")
    elif isinstance(block, ImageBlock) and block.pdf is not None:
        yield r"\begin{figure}"
        yield r"  \centering"
        yield rf"  \includegraphics{{{block.pdf.name}}}"
        yield rf"  \caption{{{literal_latex(block.caption)}}}\label{{fig:{study}-{_slug(block.pdf.stem)}}}"
        yield r"\end{figure}"
    elif isinstance(block, Code):
        lines = map(mono_latex, block.text.splitlines())
        yield from (r"\begin{quote}\raggedright", " \\\\\n".join(lines), r"\end{quote}")


def _paragraph(paragraph: Paragraph) -> str:
    said = inline_latex(paragraph.text)
    if paragraph.role == "warning":
        return rf"\textbf{{Note.}} {said}"
    size = {"lead": r"\large", "note": r"\small"}.get(paragraph.role)
    return rf"{{{size} {said}\par}}" if size else said
