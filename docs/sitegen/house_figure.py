"""Picture of the house: the folders of hfbench/ in layers, with an arrow for every import that no other arrow implies.

Drawn from the imports themselves: `python -m sitegen.house_figure` in docs/ writes it anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docs/explanation/house.svg"
PLUGINS = ("solvers", "schedulers", "tasks", "studies")
WINGS = {
    "numerics": ("#dbe9f6", ("memory", "linalg", "curvature", "inner_solve", "hessian_free")),
    "parts": ("#e3f1dd", ("parts", "testing", "solvers, schedulers, tasks")),
    "runs": ("#fdebd3", ("config", "records", "runs", "tracking", "execution")),
    "evidence": ("#f3e1f0", ("statistics", "figures", "report")),
    "uses": ("#e6e4f4", ("sweep", "probe", "diagnosis")),
    "face": ("#ececec", ("commands", "cli")),
}
PARTS_BOX = "solvers, schedulers, tasks"  # the plugin folders, drawn as one
SHORT = {
    "memory": "bytes of tensors", "linalg": "vectors, scalars, precision", "curvature": "products with J, Jᵀ and G",
    "parts": "protocols, registry, plugins", "inner_solve": "the system and its solve loop",
    "hessian_free": "one step, and the optimiser", "config": "study files to run specs", "records": "files of runs",
    "runs": "one run", "tracking": "MLflow", "statistics": "pairs, tests, verdicts",
    "execution": "many runs: processes",
    "figures": "drawing functions", "probe": "frozen systems", "diagnosis": "failure signatures",
    "testing": "contracts of parts", "report": "findings in words and pages", "sweep": "tune, retest, freeze",
    "commands": "one file per command", "cli": "options, help, exit status",
    PARTS_BOX: "the parts, one file each",
}  # fmt: skip
WIDTH, BOX, HEIGHT, ROW, GAP, DUMMY = 960, 186, 42, 76, 16, 20

Graph = dict[str, set[str]]


def folders() -> list[str]:
    inside = sorted(path.parent.name for path in (ROOT / "hfbench").glob("*/__init__.py"))
    return [name for name in inside if name not in PLUGINS]


def imports() -> Graph:
    """The folders that each folder imports; the plugin folders are one node."""
    names = folders()
    found: Graph = {name: set() for name in [*names, PARTS_BOX]}
    for name in names:
        found[name] = set(_imported(sorted((ROOT / "hfbench" / name).rglob("*.py")), names)) - {name}
    plugins = [path for plugin in PLUGINS[:3] for path in sorted((ROOT / plugin).rglob("*.py"))]
    found[PARTS_BOX] = set(_imported(plugins, names))
    return found


def _imported(files: Sequence[Path], names: Sequence[str]) -> Iterator[str]:
    for file in files:
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hfbench"):
                below = (node.module or "").split(".")[1:2] or [alias.name for alias in node.names]
                yield from (name for name in below if name in names)


def reduced(graph: Graph) -> Graph:
    """The graph without the arrows that a longer way implies."""

    def reach(name: str) -> set[str]:
        return graph[name].union(*(reach(other) for other in graph[name]))

    return {
        name: {other for other in others if not any(other in reach(third) for third in others - {other})}
        for name, others in graph.items()
    }


def layers(graph: Graph) -> dict[str, int]:
    """The ground is 0; a folder stands one above the highest that it imports. There must be no circle."""

    def level(name: str) -> int:
        return 1 + max((level(other) for other in graph[name]), default=-1)

    return {name: level(name) for name in graph}


def svg() -> str:
    graph = imports()
    arrows, level = reduced(graph), layers(graph)
    rows, chains = _with_dummies(arrows, level)
    places = _places(rows, chains)
    height = ROW * len(rows) + 64
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z" fill="#667"/></marker></defs>',
        *_legend(),
        *(_arrow([places[node] for node in chain]) for chain in chains),
        *(_box(name, places[name]) for name in graph),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _with_dummies(arrows: Graph, level: Mapping[str, int]) -> tuple[list[list[str]], list[list[str]]]:
    """Rows from the top, with a dummy wherever an arrow crosses a row; and every arrow as the nodes it goes by."""
    top = max(level.values())
    rows: list[list[str]] = [[] for _ in range(top + 1)]
    for name in sorted(arrows):
        rows[top - level[name]].append(name)
    chains = []
    for name, others in sorted(arrows.items()):
        for other in sorted(others):
            crossed = [f"{name}>{other}@{row}" for row in range(level[name] - 1, level[other], -1)]
            for node in crossed:
                rows[top - int(node.rpartition("@")[2])].append(node)
            chains.append([name, *crossed, other])
    return rows, chains


def _places(rows: list[list[str]], chains: Sequence[Sequence[str]]) -> dict[str, tuple[float, float]]:
    """Centres of all nodes: rows are ordered so that what is joined stands near."""
    joined: dict[str, list[str]] = {}
    for chain in chains:
        for upper, lower in zip(chain, chain[1:], strict=False):
            joined.setdefault(upper, []).append(lower)
            joined.setdefault(lower, []).append(upper)
    places: dict[str, tuple[float, float]] = {}
    for sweep in range(12):
        for index, row in enumerate(rows):
            if sweep:
                row.sort(key=lambda node: _mean([places[other][0] for other in joined.get(node, [node])]))
            widths = [DUMMY if "@" in node else BOX for node in row]
            left = (WIDTH - sum(widths) - GAP * (len(row) - 1)) / 2
            for node, width in zip(row, widths, strict=True):
                places[node] = (left + width / 2, 52 + ROW * index + HEIGHT / 2)
                left += width + GAP
    return places


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _legend() -> Iterator[str]:
    x = 20
    for wing, (colour, _) in WINGS.items():
        yield f'<rect x="{x}" y="12" width="14" height="14" rx="3" fill="{colour}" stroke="#99a"/>'
        yield f'<text x="{x + 20}" y="23" font-size="12" fill="#333">{wing}</text>'
        x += 96
    yield f'<text x="{WIDTH - 20}" y="23" font-size="12" fill="#666" text-anchor="end">imports run downward</text>'


def _arrow(points: Sequence[tuple[float, float]]) -> str:
    """A curve from below the first box to above the last one, by way of the points between."""
    (x, y), (last_x, last_y) = points[0], points[-1]
    path, y = f"M{x:.0f} {y + HEIGHT / 2:.0f}", y + HEIGHT / 2
    for to_x, to_y in points[1:]:
        upper = to_y - HEIGHT / 2 - 1
        middle = (y + upper) / 2
        path += f" C{x:.0f} {middle:.0f} {to_x:.0f} {middle:.0f} {to_x:.0f} {upper:.0f}"
        if (to_x, to_y) != (last_x, last_y):  # straight past the boxes of a row
            path += f" L{to_x:.0f} {to_y + HEIGHT / 2:.0f}"
        x, y = to_x, to_y + HEIGHT / 2
    return f'<path d="{path}" fill="none" stroke="#889" stroke-width="1.3" marker-end="url(#tip)"/>'


def _box(name: str, place: tuple[float, float]) -> str:
    x, y = place[0] - BOX / 2, place[1] - HEIGHT / 2
    colour = next(colour for colour, names in WINGS.values() if name in names)
    title = f"{name}/" if name != PARTS_BOX else name
    about = escape(SHORT[name])
    return (
        f'<g><rect x="{x:.0f}" y="{y:.0f}" width="{BOX}" height="{HEIGHT}" rx="7" fill="{colour}" stroke="#99a"/>'
        f'<text x="{place[0]:.0f}" y="{y + 18:.0f}" font-size="12" font-weight="bold" text-anchor="middle" fill="#223">'
        f'{title}</text><text x="{place[0]:.0f}" y="{y + 33:.0f}" font-size="10" text-anchor="middle" fill="#445">'
        f"{about}</text></g>"
    )


if __name__ == "__main__":
    FILE.write_text(svg(), encoding="utf-8")
