"""Figures of a study: the list of them, their captions, and the drawing from its records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from hfbench import figures
from hfbench.config.measures import MEASURES
from hfbench.config.study import to_dict
from hfbench.execution.parallel_map import parallel_map
from hfbench.execution.progress import counting
from hfbench.interrupts import raise_if_interrupted
from hfbench.records.files import copy_files, finite, safe_name
from hfbench.records.recorded_study import RecordedStudy
from hfbench.report.figure_files import kept_listing, list_figures
from hfbench.report.finding_tables import tables
from hfbench.report.wording import capital
from hfbench.statistics.findings import Findings, limits

if TYPE_CHECKING:
    import pandas as pd

Traces = Mapping[tuple[str, int], "pd.DataFrame"]
Drawing = Callable[[], "Figure"]

KEPT = "figures.json"  # what the figures in a folder were drawn from
FIRST = ("forest", "convergence")
SHEET = "figure sheet"  # of one task, or of all together
OF_A_TASK = 5  # figures, about: what a bar counts with until the traces of a task are read


@dataclass(frozen=True)
class Figure:
    """A drawn figure, of one task or of all tasks together."""

    kind: str
    task: str
    png: Path
    svg: Path
    about: str
    pdf: Path | None = None  # for LaTeX

    @property
    def paths(self) -> list[Path]:
        return [self.png, self.svg, *([] if self.pdf is None else [self.pdf])]


def draw_figures(
    recorded: RecordedStudy,
    found: Findings,
    folder: Path,
    console: Console | None = None,
    in_pdf: bool = False,
    jobs: int = 1,
) -> list[Figure]:
    """Draws every figure that the records allow into the folder; the same records give the same bytes.

    Figures that exist already, from the same records and code, are not drawn again. A terminal shows a bar. With more
    than one job, processes draw the figures of a task each, so many at a time.
    """
    drawn_from, console = _drawn_from(recorded, found), console or Console(quiet=True)
    drawn = _kept(folder, drawn_from)
    if drawn is None or (in_pdf and any(figure.pdf is None for figure in drawn)):
        if jobs > 1:
            sheets = [(recorded, found, folder, task, in_pdf) for task in (None, *_tasks_with_runs(recorded))]
            drawn = [figure for sheet in parallel_map(draw_sheet, sheets, jobs, console, SHEET) for figure in sheet]
        else:
            with figures.also_in_pdf(in_pdf):
                drawn = _drawn(recorded, found, folder, console)
        _keep(folder, drawn_from, drawn)
    return drawn


def draw_sheet(recorded: RecordedStudy, found: Findings, folder: Path, task: str | None, in_pdf: bool) -> list[Figure]:
    """Draws the figures of one task, or those of all tasks together."""
    with figures.also_in_pdf(in_pdf):
        drawings = _of_all(recorded, found, folder) if task is None else _of_task(recorded, task, folder)
        return [draw() for draw in drawings]


def figure_of(kind: str, task: str, about: str, paths: Sequence[Path]) -> Figure:
    """The figure in these files, a PNG, an SVG and maybe a PDF."""
    png, svg, *pdf = paths
    return Figure(kind, task, png, svg, about, *pdf)


def copy_figures(figures: Sequence[Figure], folder: Path) -> None:
    """Copies figures to another folder, in place of those that were drawn or copied there before."""
    copy_files([path for figure in figures for path in figure.paths], folder)
    _keep(folder, "", figures)


# ---------------------------------------------------------------- what is drawn already


def _drawn_from(recorded: RecordedStudy, found: Findings) -> str:
    """Digest of the records' keys and results, and of the code that draws them."""
    results = {key: dict(result) for key, result in recorded.ended.items()}
    shown = [to_dict(recorded.study), results, finite(tables(found)), version("matplotlib")]
    digest = hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode())
    for module in [Path(__file__), *sorted(Path(figures.__file__).parent.glob("*.py"))]:
        digest.update(module.read_bytes())
    return digest.hexdigest()


def _kept(folder: Path, drawn_from: str) -> list[Figure] | None:
    """The figures of an earlier call, if their source is the same and their files are unchanged."""
    kept = kept_listing(folder / KEPT)
    if kept.get("drawn_from") != drawn_from:
        return None
    try:
        rows = [
            [row[name] for name in ("kind", "task", "about", "png", "svg", *(["pdf"] if "pdf" in row else []))]
            for row in kept["figures"]
        ]
    except (KeyError, TypeError):  # written by another version
        return None
    texts = all(isinstance(text, str) for row in rows for text in row)
    if not texts or not {name for _, _, _, *names in rows for name in names} <= kept["files"].keys():
        return None
    return [figure_of(kind, task, about, [folder / name for name in names]) for kind, task, about, *names in rows]


def _keep(folder: Path, drawn_from: str, figures: Sequence[Figure]) -> None:
    rows = [
        {"kind": figure.kind, "task": figure.task, "about": figure.about}
        | {path.suffix[1:]: path.name for path in figure.paths}
        for figure in figures
    ]
    names = [path.name for figure in figures for path in figure.paths]
    list_figures(folder / KEPT, names, drawn_from=drawn_from, figures=rows)


# ---------------------------------------------------------------- drawing


def first_to_open(figures: Sequence[Figure]) -> Figure | None:
    """The figure that answers the study's question: the ratios with their intervals, else the first convergence."""
    return next((figure for kind in FIRST for figure in figures if figure.kind == kind), None)


def _drawn(recorded: RecordedStudy, found: Findings, folder: Path, console: Console) -> list[Figure]:
    """Draws all of them, task by task, since the traces of all are many; so their number is a guess at first."""
    tasks = _tasks_with_runs(recorded)
    groups: list[Callable[[], Iterator[Drawing]]] = [partial(_of_all, recorded, found, folder)]
    groups += [partial(_of_task, recorded, task, folder) for task in tasks]
    drawn: list[Figure] = []
    with counting(console, "drawing figures", OF_A_TASK * len(groups)) as shown:
        for index, group in enumerate(groups):
            drawings = list(group())
            total = len(drawn) + len(drawings) + OF_A_TASK * (len(tasks) - index)
            for draw in drawings:
                raise_if_interrupted()
                shown(len(drawn), total)
                drawn.append(draw())
        shown(len(drawn), len(drawn))
    return drawn


def _of_all(recorded: RecordedStudy, found: Findings, folder: Path) -> Iterator[Drawing]:
    """Figures from the table of runs: ratios, effects, profiles and memory."""
    study, runs = recorded.study, recorded.judged
    methods, cost, tasks = list(study.methods), study.primary, _tasks_with_runs(recorded)
    common: dict[str, Any] = {"cost": cost, "budget": limits(recorded)}
    measure = MEASURES[cost].title

    def made(kind: str, about: str, drawing: Callable[..., list[Path]], *of: Any, **more: Any) -> Drawing:
        return partial(_made, kind, "", about, folder, drawing, *of, **more)

    if found.comparisons:
        about = f"Ratios of {measure}, every method to {study.baseline}, with intervals."
        yield made("forest", about, figures.comparisons_forest, found.comparisons, methods=methods)
    if found.effects:
        about = f"Effect of each factor, and of each pair of factors, on {measure}."
        yield made(
            "effects", about, figures.forest, figures.effect_rows(found.effects), margin=study.margin,
            measure=f"{measure}, ratio", level=1 - study.alpha,
        )  # fmt: skip
    if _has_numbers(runs, MEASURES[cost].spent):
        yield made("reached", "Share of seeds that reached the target, against the cost.", figures.reached, runs,
                   methods=methods, tasks=tasks, **common)  # fmt: skip
    if (
        _has_numbers(runs, cost)
        and runs.groupby(["task", "seed"])["method"].nunique().max() == runs["method"].nunique()
    ):
        about = "Performance profile: share of instances solved within a factor of the cheapest method's cost."
        yield made("profile", about, figures.profile, runs, methods=methods, **common)
    if _has_numbers(runs, "peak_memory"):
        whose = "the process of a run" if study.device == "cpu" else "the GPU in a run"
        yield made("memory", f"Peak memory of {whose}.", figures.memory, runs,
                   baseline=study.baseline, methods=methods, tasks=tasks)  # fmt: skip


def _of_task(recorded: RecordedStudy, task: str, folder: Path) -> Iterator[Drawing]:
    """Figures of a task: courses from the traces, and interactions from the table of runs."""
    traces = recorded.traces(task)
    if any(len(trace) > 1 for trace in traces.values()):  # else no run made a step
        yield from _of_traces(recorded, task, traces, folder)
    yield from _examples(recorded, task, folder)
    yield from _interactions(recorded, task, folder)


def _of_traces(recorded: RecordedStudy, task: str, traces: Traces, folder: Path) -> Iterator[Drawing]:
    study = recorded.study
    shared: dict[str, Any] = {"title": task, "methods": list(study.methods)}
    sheets: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        (
            "convergence",
            f"{study.target_on}_error",
            f"{capital(study.target_on)} error against cost",
            {"target": study.targets[task]},
        ),
        *([("test-error", "test_error", "Test error against cost", {})] if study.target_on != "test" else []),
        ("objective", "validation_objective", "Objective on the validation cases against cost", {}),
    )
    for kind, y, about, more in sheets:
        about = f"{about}: work, Gauss-Newton products, seconds, distinct cases."
        costs: dict[str, Any] = {"y": y, "cases": _cases(recorded, task, traces), **more, **shared}
        yield partial(_made, kind, task, about, folder, figures.four_costs, traces, **costs)
    solving = {key: trace for key, trace in traces.items() if study.methods[key[0]].optimizer is None}
    left_out = dict.fromkeys(method for method, _ in traces if study.methods[method].optimizer is not None)
    if solving:
        # A first-order method takes a hundred times the iterations: beside it the others would be a dot.
        without = f" Without {', '.join(left_out)}: no inner iterations." if left_out else ""
        about = f"Batch sizes and the reasons for them.{without}"
        yield partial(_made, "batches", task, about, folder, figures.batches, solving, **shared)
        about = f"Inner iterations, damping and reduction ratio.{without}"
        yield partial(_made, "inner", task, about, folder, figures.inner, solving, **shared)


def _examples(recorded: RecordedStudy, task: str, folder: Path) -> Iterator[Drawing]:
    seed, shown = recorded.examples(task)
    if any("solution" in example for example in shown.values()):
        about = f"The solution, and what was learned by the end of the runs of seed {seed}."
        yield partial(_made, "fields", task, about, folder, figures.fields, shown,
                      title=task, methods=list(recorded.study.methods))  # fmt: skip
    elif shown:
        about = f"The first test cases, and their outputs at the end of the runs of seed {seed}."
        originals = next(iter(shown.values()))["originals"]
        images, errors = (
            {name: example[what] for name, example in shown.items()} for what in ("reconstructions", "errors")
        )
        yield partial(_made, "examples", task, about, folder, figures.reconstructions, originals, images,
                      errors=errors, title=task, methods=list(recorded.study.methods))  # fmt: skip


def _interactions(recorded: RecordedStudy, task: str, folder: Path) -> Iterator[Drawing]:
    study, ablation = recorded.study, recorded.study.ablation
    if ablation is None or ablation.design != "factorial" or len(ablation.factors) < 2:
        return
    if set(ablation.levels) <= {*recorded.judged.loc[recorded.judged["task"] == task, "method"]}:
        about = "Interactions of factors: parallel lines mean that their effects multiply."
        yield partial(
            _made, "interactions", task, about, folder,
            figures.interactions, recorded.judged, factors=ablation.factors, levels=ablation.levels,
            names=ablation.values, cost=study.primary, budget=limits(recorded), title=task, tasks=[task],
        )  # fmt: skip


def _made(
    kind: str, task: str, about: str, folder: Path, drawing: Callable[..., list[Path]], *of: Any, **more: Any
) -> Figure:
    path = folder / "-".join([kind, *([safe_name(task)] if task else [])])
    return figure_of(kind, task, about, drawing(*of, path, **more))


def _has_numbers(runs: pd.DataFrame, column: str) -> bool:
    """Whether the figure of a column would show anything."""
    return bool(np.isfinite(runs[column].astype(float)).any())


def _tasks_with_runs(recorded: RecordedStudy) -> list[str]:
    there = set(recorded.judged["task"])
    return [task for task in recorded.study.tasks if task in there]


def _cases(recorded: RecordedStudy, task: str, traces: Traces) -> int | None:
    """Number of training cases of the task, from a run's record of distinct cases and their share."""
    runs = recorded.judged[recorded.judged["task"] == task]
    for method, seed, distinct in zip(runs["method"], runs["seed"], runs["distinct"].astype(float), strict=True):
        if distinct > 0 and (method, seed) in traces:
            return int(round(float(traces[method, seed]["distinct_cases"].iloc[-1]) / distinct))
    return None
