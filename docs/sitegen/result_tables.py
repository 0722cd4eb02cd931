"""Tables of the results pages, from the committed comparisons and medians of the published studies.

A page has a table between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from hfbench.report.wording import interval, p_value, ratio_text

from . import microscope_tables
from .markdown import table
from .outside import DOCS, ROOT

PUBLISHED = ROOT / "studies/results"
PLACE = re.compile(r"(?<=<!-- table: )([\w-]+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)
DECIDED = ("better", "worse", "equivalent")
MEDIANS = ("to target", "seconds", "products", "final test error", "stopped early", "solved")

PAPER = {"usps": "USPS", "curves-5000": "CURVES, 5000 cases", "mnist-10000": "MNIST, 10 000 cases"}
TUNED = {
    "usps": "USPS",
    "curves-small": "CURVES small",
    "usps-shallow": "USPS, shallow",
    "usps-deep": "USPS, deep",
    "mnist-10000": "MNIST, 10 000 cases",
}
NETWORKS = {
    "mnist-conv-2000": "MNIST, convolutional",
    "addition-20": "addition, recurrent",
    "usps-class": "USPS, classifier",
}
RACE = {"usps": "USPS, error 4.3", "curves-10000": "CURVES, error 22", "mnist-10000": "MNIST, error 9"}
DEEP = {"usps-deep": "USPS, error 3.8", "curves-deep": "CURVES, error 17", "mnist-deep": "MNIST, error 7"}
ELSEWHERE = {"mnist-conv-2000": "MNIST, convolutional", "usps-class": "USPS, classifier"}
SUBSPACE = {"subspace K-FAC": ("subspace",), "Muon": ("muon",)}
PHYSICS = {
    "poisson-2d": "Poisson",
    "heat-1d": "heat",
    "helmholtz": "Helmholtz",
    "burgers": "Burgers",
    "allen-cahn": "Allen-Cahn",
}
SOLVERS = {
    "Adam, then L-BFGS": "adam-lbfgs",
    "L-BFGS": "l-bfgs",
    "SOAP": "soap",
    "LSMR": "lsmr",
    "LSMR + `nystrom`": "lsmr-nystrom",
    "CG + `nystrom`": "cg-nystrom",
    "`dual`": "dual",
}
RACERS = {
    "CG + `kfac`": ("kfac", "kfac-curves", "kfac-mnist"),
    "LSMR + `kfac`": ("kfac-lsmr",),
    "Adam, rate 2e-3": ("adam-2e-3",),
    "L-BFGS": ("l-bfgs",),
}
PIECES = {
    "a coefficient for each layer": ("whole-vectors",),
    "directions of the last step": ("no-last-step",),
    "a damping of the factors' own": ("tied-damping",),
    "λ on a schedule, in place of ρ": ("rho",),
    "bfloat16 in M⁻¹g": ("float32-inverse",),
    "bfloat16 anywhere": ("float32",),
}
OPTIMIZERS = {"Muon": "muon", "SOAP": "soap", "SGD": "sgd", "L-BFGS": "l-bfgs", "CG + `kfac`": "kfac"}
PRECISION = {"usps": "USPS", "mnist-10000": "MNIST, 10 000 cases"}


def filled() -> dict[str, str]:
    """Every page of docs/ that has such a table, with the tables as the records have them, by its path."""
    made = tables()
    pages = {file.relative_to(DOCS).as_posix(): file.read_text("utf-8") for file in sorted(DOCS.rglob("*.md"))}
    return {
        path: PLACE.sub(lambda found: f"{found[1]}{found[2]}\n{made[found[1]]}\n", text)
        for path, text in pages.items()
        if PLACE.search(text)
    }


@cache
def tables() -> dict[str, str]:
    """Every table as Markdown, by its name."""
    return {
        "paper": claims("paper", PAPER),
        "paper-effects": effects("paper", "usps"),
        "paper-medians": medians("paper", "usps", ["hf", "shf", "adam", "lbfgs"]),
        "thresholds": ratios("thresholds-frozen", "tuned on", TUNED, _each("shf_for_", TUNED)),
        "architectures": ratios("architectures", "method", NETWORKS, _each("", ["shf-lsmr", "adam"])),
        "race": ratios("race", "method", RACE, SUBSPACE),
        "race-deep": ratios("race", "method", DEEP, SUBSPACE),
        "race-claims": claims("race", RACE),
        "race-deep-claims": claims("race", DEEP),
        "race-elsewhere": ratios("race-elsewhere", "method", ELSEWHERE, SUBSPACE),
        "race-first": ratios("race-first", "method", RACE, RACERS),
        "race-ablation": ratios("race-ablation", "without", RACE, PIECES),
        "physics-errors": final_errors("physics", PHYSICS, SOLVERS),
        "physics-minute": medians("physics", "poisson-minute", ["adam-lbfgs", "dual"]),
        "physics-claims": claims("physics", PHYSICS),
        "physics-seconds": ratios(
            "physics", "method", PHYSICS, {title: (name,) for title, name in SOLVERS.items() if name != "adam-lbfgs"}
        ),
        "tuned": ratios("tuned-frozen", "method", RACE, {title: (name,) for title, name in OPTIMIZERS.items()}),
        "precision": claims("precision", PRECISION),
        "precision-effects": effects("precision", "usps"),
        "mnist-full": medians("mnist-full", "mnist-full", ["hf", "hf_lsmr", "shf"]),
        **microscope_tables.tables(),
    }


def ratios(study: str, corner: str, tasks: Mapping[str, str], rows: Mapping[str, Sequence[str]]) -> str:
    """The comparisons of a study: a column for each task, a row for the methods that go by one name."""
    found = {(row["task"], row["method"]): row for row in comparisons(study)["comparisons"]}

    def cells(methods: Sequence[str]) -> Iterable[str]:
        for task in tasks:
            shown = (compared(found[task, method]) for method in methods if (task, method) in found)
            yield next(shown, "–")

    return table([corner, *tasks.values()], ([name, *cells(methods)] for name, methods in rows.items()))


def claims(study: str, tasks: Mapping[str, str]) -> str:
    """The declared claims of a study with their answers: a column for each task."""
    found: dict[str, dict[str, str]] = {}
    for row in comparisons(study)["claims"]:
        answer = row["answer"] if row["answer"] == "open" else f"**{row['answer']}**"
        found.setdefault(row["says"], {})[row["task"]] = f"{answer} {shown(row)}"
    rows = ([says, *(answers.get(task, "–") for task in tasks)] for says, answers in found.items())
    return table(["claim", *tasks.values()], rows)


def effects(study: str, task: str) -> str:
    """The effects of a factorial study on one task."""
    rows = [row for row in comparisons(study)["effects"] if row["task"] == task]
    cells = ([row["effect"].replace(":", " × "), shown(row), p_value(row["p_holm"]), row["verdict"]] for row in rows)
    return table(["effect", "factor on the cost (95 % CI)", "p Holm", "verdict"], cells)


def medians(study: str, task: str, methods: Sequence[str]) -> str:
    """The medians of some methods, as the report of the study has them."""
    found = reported(study, task)
    return table(
        ["method", *MEDIANS], ([f"`{name}`", *(found[name][column] for column in MEDIANS)] for name in methods)
    )


def final_errors(study: str, tasks: Mapping[str, str], rows: Mapping[str, str]) -> str:
    """The medians of the final test error: a column for each task, a row for each method by its title."""
    found = {task: reported(study, task) for task in tasks}
    cells = (
        [title, *(found[task].get(name, {}).get("final test error", "–") for task in tasks)]
        for title, name in rows.items()
    )
    return table(["method", *tasks.values()], cells)


def reported(study: str, task: str) -> dict[str, dict[str, str]]:
    """The medians in the report of a study, by method and column."""
    report = (PUBLISHED / study / "report.md").read_text("utf-8")
    section = report.split(f"\n## Task {task}\n")[1].split("\nMedians over seeds")[1].split("\n### ")[0]
    lines = [line.strip("| ").replace("\\_", "_").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    (_, *columns), _, *rows = lines
    return {name: dict(zip(columns, cells, strict=True)) for name, *cells in rows}


def comparisons(study: str) -> dict[str, Any]:
    return dict(json.loads((PUBLISHED / study / "comparisons.json").read_text("utf-8")))


def compared(row: Mapping[str, Any]) -> str:
    """`**0.34x** (0.30-0.40) better`; nothing in bold and no word where there is no verdict."""
    word = next((word for word in DECIDED if row["verdict"].endswith(word)), "")
    ratio, rest = parts(row)
    return f"**{ratio}**{rest} {word}" if word else ratio + rest


def shown(row: Mapping[str, Any]) -> str:
    """`0.34x (0.30-0.40)`."""
    return "".join(parts(row))


def parts(row: Mapping[str, Any]) -> tuple[str, str]:
    """A ratio and its interval in parentheses, which is empty where nothing is known."""
    ratio_low, ratio_high, low, high = (
        math.inf if row[key] is None else row[key] for key in ("ratio_low", "ratio_high", "ci_low", "ci_high")
    )
    ends = interval(low, high)
    return ratio_text(ratio_low, ratio_high), "" if ends == "–" else f" ({ends})"


def _each(prefix: str, methods: Iterable[str]) -> dict[str, tuple[str]]:
    """A row of its own for each method; a task that a method was tuned on goes by the task's title."""
    named = {name: TUNED.get(name, f"`{name}`") for name in methods if name != "mnist-10000"}
    return {title: (f"{prefix}{name}",) for name, title in named.items()}
