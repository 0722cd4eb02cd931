"""Tables of the page about frozen systems, from what the probes wrote and was committed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hfbench.report.wording import digits

from .markdown import table

RESULTS = Path(__file__).parents[2] / "studies/results/microscope"
TASKS = {"usps": "USPS", "curves-5000": "CURVES"}
EQUATIONS = {"poisson-2d": "Poisson", "burgers": "Burgers"}
VARIANTS = ("identity", "martens", "chapelle-erhan", "kfac")
COMPARED = ("identity", "chapelle-erhan")
SIZES = (25, 100, 500, 1000)


def tables() -> dict[str, str]:
    """The page's tables as Markdown, by what they are of."""
    return {
        "microscope-duels": duels(TASKS),
        "microscope-preconditioners": preconditioners(),
        "microscope-variance": variance(),
        "equations-duels": duels(EQUATIONS),
        "equations-preconditioners": equations_preconditioners(),
    }


def duels(tasks: Mapping[str, str]) -> str:
    """LSMR over CG, for the preconditioners compared: a row for each measure and number of iterations."""
    cells: dict[tuple[str, int], dict[str, str]] = {}
    heads = []
    for task, name in tasks.items():
        every = json.loads((RESULTS / task / "solvers.json").read_text("utf-8"))["duels"]
        found = [row for row in every if row["of"].split()[1] in COMPARED]
        for pair in dict.fromkeys(row["of"] for row in found):
            heads.append(f"{name}, {pair.split()[1]}")
            for row in found:
                if row["of"] == pair:
                    cells.setdefault((row["measure"], row["k"]), {})[heads[-1]] = _ratio(row)
    named = {"residual": "residual", "gap": "1 - q/q*", "f_train": "f after, training", "f_test": "f after, test"}
    rows = [
        [named[measure], str(k), *(found.get(head, "–") for head in heads)] for (measure, k), found in cells.items()
    ]
    return table(["LSMR over CG", "after", *heads], rows)


def _ratio(one: dict[str, Any]) -> str:
    shown = one["verdict"] in ("better", "worse")
    interval = f" ({digits(one['low'])}-{digits(one['high'])})" if one["low"] > 0 else ""
    said = f"{digits(one['ratio'])}x{interval}"
    return f"**{said} {one['verdict']}**" if shown else said


def preconditioners() -> str:
    """Iterations of CG to 1 - q/q* = 0.1, and to 0.01, of the variants by themselves."""
    return table(["system", "lambda", *VARIANTS], _conditions())


def _conditions() -> Iterator[list[str]]:
    import pandas as pd

    for task, name in TASKS.items():
        file = RESULTS / task / "preconditioners.parquet"
        if not file.exists():
            continue
        found = pd.read_parquet(file)
        plain = found[found["kind"] == "preconditioner"]
        for system in dict.fromkeys(plain["system"]):
            here = plain[plain["system"] == system].set_index("base")
            step = str(here["moment"].iloc[0]).rsplit("-i", 1)[1]
            counts = [
                f"{_count(here.at[variant, 'to_0.1'])} / {_count(here.at[variant, 'to_0.01'])}" for variant in VARIANTS
            ]
            yield [f"{name}, step {step}", f"{here['lambda'].iloc[0]:.3g}", *counts]


def equations_preconditioners() -> str:
    """Iterations of CG to 1 - q/q* = 0.01 on the systems as they were met, and the products of a build of nystrom."""
    import pandas as pd

    variants, rows = ("identity", "chapelle-erhan", "kfac", "nystrom"), []
    for task, name in EQUATIONS.items():
        found = pd.read_parquet(RESULTS / task / "preconditioners.parquet")
        met = found[(found["kind"] == "preconditioner") & (found["system"] == found["moment"])]
        for moment in dict.fromkeys(met["moment"]):
            here = met[met["moment"] == moment].set_index("base")
            seed, step = moment.rsplit("-s", 1)[1].split("-i")
            counts = [_count(here.at[variant, "to_0.01"]) for variant in variants]
            row = [f"{name}, run {int(seed) + 1}, step {step}", f"{here['lambda'].iloc[0]:.1e}", *counts]
            rows.append([*row, f"{here.at['nystrom', 'build']:.0f}"])
    return table(["system", "lambda", *variants, "its build"], rows)


def _count(k: float) -> str:
    return "–" if k != k else f"{k:.0f}"


def variance() -> str:
    """By batch size: the estimates over the truth, and how often the norm test errs."""
    heads = ["batches of", "n", "V_S/V", "‖g_S‖²/‖g‖²", "W_S/W", "grows", "should", "asks for", "should ask for"]
    return table(heads, _estimates())


def _estimates() -> Iterator[list[str]]:
    import pandas as pd

    for task, name in TASKS.items():
        found = pd.read_parquet(RESULTS / task / "variance.parquet")
        dynamic = found[(found["scheduler"] == "dynamic") & found["n"].isin(SIZES)]
        dynamic = dynamic[dynamic["system"].str.contains("-s0-")]
        for row in dynamic.to_dict("records"):
            step = row["system"].rsplit("-i", 1)[1]
            yield [
                f"{name}, step {step}",
                str(row["n"]),
                f"{row['variance']:.2f} ± {row['variance_sd']:.2f}",
                f"{row['gradient']:.2f}",
                f"{row['inner']:.1f}",
                f"{100 * row['grows']:.0f} %",
                "yes" if row["should_grow"] else "no",
                f"{row['next']:.0f}",
                str(row["next_true"]),
            ]
