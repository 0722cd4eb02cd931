"""Benchmark page: the tables that `python -m benchmarks --json` wrote, with each one's own words and a figure."""

from __future__ import annotations

import ast
import json
from functools import cache
from pathlib import Path
from typing import Any

from .markdown import code, heading, table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks/results/measured.json"
EARLIER = ROOT / "benchmarks/results/earlier.json"  # of another machine: what was not measured anew since
ON_GPU = ROOT / "benchmarks/results/gpu.json"
FIGURES = {  # of the benchmarks that have one: what it shows
    "product": "Ratio of product to floor against cases",
    "peers": "Ratio of other packages' products to hfbench's against cases",
    "growth": "Seconds and work of an outer iteration against cases, parameters and seeds",
}
INTRO = """# Measured cost

A Hessian-free method lives by the cost of its Gauss-Newton product and by what surrounds it. These figures were taken
by one command, and are drawn from [what it wrote](../../benchmarks/results/measured.json).
There are three machines: the first below, [one of November 2026](#earlier) for what was not measured anew since, and
[one with a GPU](#with-a-gpu). They are ratios within one
process wherever there are two sides to compare, which take turns; seconds alone depend on the machine.

```sh
.venv/bin/pip install -e '.[bench]' && .venv/bin/python -m benchmarks --json figures.json
```

measures all of it anew, names after `benchmarks` only those, `--quick` looks at small sizes, and `--help` says what
there is. A race against PyTorchHessianFree needs its source: `--peer PATH`.

"""
BUSY = "Other work kept {busy_cores:.1f} cores of the machine busy: no figures to quote yet.\n\n"
BUSY_CORES = 0.25  # that disturb
QUICK = "A look at small sizes, taken with `--quick`: no figures to quote yet.\n\n"


@cache
def results(file: Path = RESULTS) -> dict[str, Any]:
    """The machine, and what each benchmark found there."""
    return dict(json.loads(file.read_text("utf-8")))


def on_cpus() -> dict[str, Any]:
    """What each benchmark found on a CPU, the last time."""
    return {**results(EARLIER)["benchmarks"], **results()["benchmarks"]}


def page() -> str:
    others = {
        heading("Another machine, before derivatives of convolutions were written out", "earlier"): EARLIER,
        heading("Another machine, with a GPU", "with-a-gpu"): ON_GPU,
    }
    return "\n".join([INTRO + measured(RESULTS), *(f"{title}\n\n{measured(file)}" for title, file in others.items())])


def measured(file: Path) -> str:
    """The machine, and a section for each benchmark."""
    machine, found = results(file)["machine"], results(file)["benchmarks"]
    described = table(["machine", "what"], ([key, str(value)] for key, value in machine.items()))
    return "\n".join([described, *(section(name, benchmark) for name, benchmark in found.items())])


def section(name: str, found: dict[str, Any]) -> str:
    """Title, what the module says of itself, figure and table."""
    busy = QUICK if found.get("quick") else ""
    busy += BUSY.format(busy_cores=found["busy_cores"]) if (found["busy_cores"] or 0) > BUSY_CORES else ""
    figure = f"![{FIGURES[name]}](benchmark-{name}.png)\n\n" if name in FIGURES else ""
    command = f"{code(f'python -m benchmarks {name}')}\n\n"
    return f"{heading(found['title'], name)}\n{about(name)}\n\n{figure}{busy}{rows(found)}\n{command}"


def about(name: str) -> str:
    """The docstring of the benchmark's module."""
    return ast.get_docstring(ast.parse((ROOT / f"benchmarks/{name}.py").read_text("utf-8"))) or ""


def rows(found: dict[str, Any]) -> str:
    """The table, without columns that no row fills."""
    filled = {key for row in found["rows"] for key, value in row.items() if value is not None}
    columns = {key: heading for key, heading in found["columns"].items() if key in filled}
    return table(list(columns.values()), ([cell(row.get(key)) for key in columns] for row in found["rows"]))


def cell(value: float | int | str | None) -> str:
    """Three digits; a dash for what was not measured."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "–" if value is None else str(value)
