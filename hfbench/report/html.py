"""Document as one self-contained HTML file, for light and dark screens, phones and paper."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator

from hfbench.messages import printable
from hfbench.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Heading,
    ImageBlock,
    Mono,
    Paragraph,
    Piece,
    Table,
    Text,
    is_word,
    pieces,
)
from hfbench.report.figure_files import figure_bytes

LARGEST_SVG = 400_000  # bytes; beyond, the PNG of the same figure is smaller and drawn faster

# Nothing is fetched and nothing runs, even if a text found its way into the markup.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --faint: #606872; --paper: #fff; --line: #d5d9de; --shade: #f4f6f8;
  --good: #116632; --bad: #b3261e; --same: #0b5c8a; --open: #7a5200; --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e6ea; --faint: #9aa3ad; --paper: #14171a; --line: #363c43;
  --shade: #1e2226; --good: #6fd08c; --bad: #ff8a80; --same: #7cc4f0; --open: #f0c060; --link: #7db7f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "DejaVu Sans", sans-serif; overflow-wrap: break-word; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .6rem; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .7rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.06rem; margin: 1.8rem 0 .4rem; }
p, ul { margin: .5rem 0; max-width: 50rem; }
ul { padding-left: 1.2rem; }
li { margin: .3rem 0; }
.lead { font-size: 1.15rem; }
.note { color: var(--faint); font-size: .9rem; }
.warning { border-left: 4px solid var(--open); background: var(--shade); padding: .5rem .8rem; }
.good { color: var(--good); } .bad { color: var(--bad); } .same { color: var(--same); } .open { color: var(--open); }
.faint { color: var(--faint); font-weight: normal; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0 0; font-size: .9rem; }
a { color: var(--link); }
.wide { overflow-x: auto; margin: .9rem 0; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
.above { margin: 1rem 0 -.5rem; }
th, td { padding: .28rem .9rem .28rem 0; text-align: left; vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1px solid var(--faint); font-weight: 600; vertical-align: bottom; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
tbody th { font-weight: 600; }
.number { text-align: right; white-space: nowrap; }
thead .number { white-space: normal; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: .86em; }
td code { overflow-wrap: anywhere; }
pre { background: var(--shade); padding: .7rem .9rem; overflow-x: auto; border-radius: 4px; white-space: pre-wrap; }
figure { margin: 1.2rem 0; }
figure .sheet { overflow-x: auto; background: #fff; border: 1px solid var(--line); border-radius: 4px; padding: .5rem; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--faint); font-size: .9rem; margin-top: .4rem; max-width: 50rem; }
summary { cursor: pointer; color: var(--link); }
@media (max-width: 44rem) { main { padding: 1rem .9rem 3rem; } h1 { font-size: 1.4rem; }
  table { font-size: .8rem; } th, td { padding-right: .6rem; }
  figure img { max-width: none; width: max(100%, 34rem); } }
@media print { :root { color-scheme: light; --ink: #000; --faint: #444; --paper: #fff; --line: #bbb; --shade: #f4f4f4;
  --good: #116632; --bad: #b3261e; --same: #0b5c8a; --open: #7a5200; --link: #000; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } nav { display: none; } table { font-size: 8.5pt; }
  .wide, figure .sheet { overflow: visible; border: 0; padding: 0; } figure, tr, pre { break-inside: avoid; }
  figure img { max-width: 100%; width: auto; } h1, h2, h3, .above { break-after: avoid; }
  h2 { margin-top: 1.4rem; } thead { display: table-header-group; } @page { margin: 16mm 14mm; } }
"""


def html_page(document: Document) -> str:
    """The text of the file. Figures are embedded from their files; every text is escaped."""
    sections = [block for block in document.blocks if isinstance(block, Heading) and block.level == 2]
    anchors = {id(heading): f"s{index}" for index, heading in enumerate(sections, start=1)}
    links = [f'<a href="#{anchors[id(section)]}">{_escaped(section.text)}</a>' for section in sections]
    title = _escaped(document.title)
    head = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        f"<h1>{title}</h1>",
    ]
    body: list[str] = []
    for block in document.blocks:
        if links and block is sections[0]:
            body += ["<nav>", *links, "</nav>"]
        body += _heading(block, anchors.get(id(block))) if isinstance(block, Heading) else _block(block)
    return "\n".join([*head, *body, "</main>", "</body>", "</html>"]) + "\n"


def _escaped(text: str) -> str:
    return html.escape(printable(text), quote=True)


def _heading(heading: Heading, anchor: str | None) -> list[str]:
    name = f' id="{anchor}"' if anchor else ""
    return [f"<h{heading.level}{name}>{_escaped(heading.text)}</h{heading.level}>"]


def _block(block: Block) -> Iterator[str]:
    if isinstance(block, Paragraph):
        yield f"<p{_class(block.role)}>{_inline(block.text)}</p>"
    elif isinstance(block, Bullets):
        items = (f"<li>{_inline(item)}</li>" for item in block.items)
        yield from (f"<ul{_class(block.role)}>", *items, "</ul>")
    elif isinstance(block, Table):
        yield from _table(block)
    elif isinstance(block, ImageBlock):
        image = f'<img src="{_data_uri(block)}" alt="{_escaped(block.alt)}">'
        yield f'<figure><div class="sheet">{image}</div>'
        yield f"<figcaption>{_escaped(block.caption)}</figcaption></figure>"
    elif isinstance(block, Code):
        yield f"<pre>{_escaped(block.text)}</pre>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _table(table: Table) -> Iterator[str]:
    if table.folded:
        yield f"<details><summary>{_escaped(table.caption)}</summary>"
    elif table.caption:  # above what scrolls, or a phone cuts it off
        yield f'<p class="note above">{_escaped(table.caption)}</p>'
    yield '<div class="wide"><table>'
    sides = [_class("" if is_word(table, index) else "number") for index in range(len(table.head))]
    names = (f'<th scope="col"{side}>{_escaped(name)}</th>' for name, side in zip(table.head, sides, strict=True))
    yield f"<thead><tr>{''.join(names)}</tr></thead>"
    yield "<tbody>"
    for row in table.rows:
        first, *others = zip(row, sides, strict=True)
        cells = (f"<td{side}>{_inline(cell)}</td>" for cell, side in others)
        yield f'<tr><th scope="row"{first[1]}>{_inline(first[0])}</th>{"".join(cells)}</tr>'
    yield "</tbody></table></div>"
    if table.folded:
        yield "</details>"


def _inline(text: Text) -> str:
    return "".join(_piece(piece) for piece in pieces(text))


def _piece(one: Piece) -> str:
    if isinstance(one, str):
        return _escaped(one)
    if isinstance(one, Mono):
        return f"<code>{_escaped(one.text)}</code>"
    return f'<strong class="{one.tone}">{_escaped(one.text)}</strong>' if one.tone else f"<b>{_escaped(one.text)}</b>"


def _data_uri(picture: ImageBlock) -> str:
    """The figure as an image, not inline: SVGs of one program share ids, and inline ones would use each other's."""
    svg = figure_bytes(picture.svg)
    kind, content = ("svg+xml", svg) if len(svg) <= LARGEST_SVG else ("png", figure_bytes(picture.png))
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
