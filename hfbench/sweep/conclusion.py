"""Conclusion of a sweep: prints and draws its findings, and writes them to the results folder and MLflow."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from hfbench.config.measures import MEASURES
from hfbench.config.study import Study
from hfbench.figures import also_in_pdf
from hfbench.interrupts import raise_if_interrupted
from hfbench.messages import wrap_text
from hfbench.records.files import copy_files, safe_name, write_atomically, write_bytes, write_json
from hfbench.records.study_home import StudyHome
from hfbench.report import latex, mlflow_page
from hfbench.report.conclusion import command_of, shortened, variant_remark
from hfbench.report.document import document_markdown
from hfbench.report.figure_files import list_figures
from hfbench.report.html import html_page
from hfbench.report.study_figures import Figure, figure_of
from hfbench.report.wording import ratio_text
from hfbench.sweep import figures, report
from hfbench.sweep.carry_over import Cell
from hfbench.sweep.console_tables import show_costs, show_frozen, show_matrix
from hfbench.sweep.equal_tuning import outcomes_by_task
from hfbench.sweep.mlflow_log import TrialLogger
from hfbench.sweep.outcome import Compared, SweepOutcome, TaskOutcome
from hfbench.sweep.retest import Winner
from hfbench.sweep.trial_rows import importances, trial_rows
from hfbench.sweep.tuning import PASSES, SECONDS
from hfbench.tracking.study_page import page_address

NAME = "sweep"  # of the report's files
LISTING = "sweep-figures.json"  # of the figures in the folder that are the sweep's


def show_tuned(swept: Sequence[TaskOutcome], log: TrialLogger, console: Console) -> None:
    """Logs the trials that have ended and are not logged yet, and prints the frozen settings of every task."""
    for outcome in swept:
        for trial in outcome.trials.values():
            raise_if_interrupted()
            log.ended(outcome.task, trial, outcome.trials[0])
        show_frozen(outcome, console)


def conclude_sweep(
    study: Study, swept: Sequence[TaskOutcome], compared: Compared, log: TrialLogger, place: StudyHome,
    console: Console, options: Sequence[str], in_latex: bool = False,
) -> None:  # fmt: skip
    """Writes and prints everything."""
    folder, speaks = place.folder, place.speaks_for_the_study
    in_latex = latex.is_wanted(in_latex, place, NAME)
    shares = {outcome.task.label: importances(outcome.points, outcome.task.sweep.parameters) for outcome in swept}
    command = command_of(study, options).replace("hfbench run", "hfbench sweep", 1)
    found = SweepOutcome(study, swept, shares, compared, command, place.variant)
    with also_in_pdf(in_latex):
        for figure in _draw(found, folder):
            found.figures.append(figure)
            raise_if_interrupted()
    said = report.sweep_document(found)
    texts = {f"{NAME}.html": html_page(said), f"{NAME}.md": document_markdown(said)}
    for name, text in texts.items():
        write_bytes(folder / name, text.encode())
    drawn = [path for figure in found.figures for path in figure.paths]
    reports = [*(folder / name for name in texts), *(latex.write_latex(said, folder, NAME) if in_latex else [])]
    written = [*reports, *_write_tables(found, folder), *drawn]
    list_figures(folder / LISTING, [path.name for path in drawn])
    if place.differences and speaks:
        copy_files(written, place.home)
        list_figures(place.home / LISTING, [path.name for path in drawn])
        latex.list_latex(place.home, NAME, written)
    if speaks:
        _log(log, found, written)
    else:
        log.tracker.close("FINISHED")
    if len(study.sweeps) > 1:
        show_costs(swept, console)
    if compared.cells:
        show_matrix(compared.cells, study, console)
    lines = [f"sweep    {folder / 'sweep.html'}", *([f"LaTeX    {folder / 'sweep.tex'}"] if in_latex else [])]
    variant = f"variant  {variant_remark(place, 'sweep.html')}"
    lines += [wrap_text(variant, console.width, " " * 9)] if place.differences else []
    lines += [f"page     {page_address(log.tracker)}"]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


# ---------------------------------------------------------------- files


def _write_tables(found: SweepOutcome, folder: Path) -> list[Path]:
    """Writes trials.parquet, a row per stage, trial and seed, and sweep.json: winners, importance, carry-over."""
    import pandas as pd

    table = [row for outcome in found.swept for row in _rows(outcome)]
    trials, summary = folder / "trials.parquet", folder / "sweep.json"
    frame = pd.DataFrame(table)
    write_atomically(trials, frame.to_parquet)
    frozen = {outcome.task.label: _frozen(outcome.frozen) for outcome in found.swept if outcome.frozen is not None}
    whose = {"study": found.study.name, **({"variant": found.variant} if found.variant else {})}
    of_all = {**whose, "frozen": frozen, "importance": found.shares}
    tuned = {"tuned": [comparison.to_row() for comparison in found.compared.tuned]} if found.compared.tuned else {}
    carried = [cell.to_row() for cell in found.compared.cells]
    write_json(summary, {**of_all, "taken": _taken(found.swept), **tuned, "carry_over": carried})
    return [trials, summary]


def _rows(one: TaskOutcome) -> list[dict[str, Any]]:
    return trial_rows(one.task.method.name, one.task.name, one.trials, one.again)


def _taken(swept: Sequence[TaskOutcome]) -> list[dict[str, Any]]:
    """What each tuning took, and its re-test."""
    return [
        {"method": outcome.task.method.name, "task": outcome.task.name, "trials": len(outcome.trials)}
        | {name: outcome.taken(name) for name in (PASSES, SECONDS)}
        | {f"{name}_again": outcome.taken(name, again=True) for name in (PASSES, SECONDS)}
        for outcome in swept
    ]


def _frozen(one: Winner) -> dict[str, Any]:
    tested = [candidate.to_row() for candidate in one.candidates]
    optimism = math.exp(one.optimism) if one.candidates else None
    return {"trial": one.index, "settings": dict(one.params), "optimism": optimism, "tested_again": tested}


def _draw(found: SweepOutcome, folder: Path) -> Iterator[Figure]:
    for outcome in found.swept:
        yield from _of_task(outcome, found.shares[outcome.task.label], folder)
    if len(found.study.sweeps) > 1:
        yield from _so_far(found, folder)
    cells_of = {sweep.method: cells for sweep in found.study.sweeps if (cells := _cells(found, sweep.method))}
    if len(found.study.tasks) > 1:
        yield from (_carried(found, method, cells, folder) for method, cells in cells_of.items())


def _cells(found: SweepOutcome, method: str) -> list[Cell]:
    return [cell for cell in found.compared.cells if cell.method == method]


def _so_far(found: SweepOutcome, folder: Path) -> Iterator[Figure]:
    """Of each task, what each method had come to after how much tuning."""
    for task, of_task in outcomes_by_task(found.swept).items():
        curves = {outcome.task.method.name: outcome.best_so_far() for outcome in of_task}
        measure = MEASURES[of_task[0].task.sweep.objectives[0]].title
        path, methods = folder / f"tuning-{safe_name(task)}", list(found.study.methods)
        paths = figures.best_so_far(curves, path, methods=methods, measure=measure, title=task)
        about = "The best of each method so far, against what its tuning took."
        yield figure_of("tuning", task, about, paths)


def _of_task(one: TaskOutcome, shares: Mapping[str, Mapping[str, float]], folder: Path) -> Iterator[Figure]:
    label, trials, sweep = one.task.label, one.points, one.task.sweep
    measure = MEASURES[sweep.objectives[0]].title
    common: dict[str, Any] = {"measure": measure, "frozen": one.index, "title": label}

    def made(kind: str, about: str, paths: list[Path]) -> Figure:
        return figure_of(kind, label, about, paths)

    def path(kind: str) -> Path:
        return folder / f"{kind}-{safe_name(one.task.file_name)}"

    yield made("history", "The trials in order.", figures.history(trials, path("history"), **common))
    about = "Ratio against each setting: all trials, and their seeds."
    yield made("slices", about, figures.slices(trials, sweep.parameters, path("slices"), **common))
    if shares:
        about = "Importance of the settings, exploratory."
        yield made("importance", about, figures.importance(shares, path("importance"), title=label))
        ranked = sorted(sweep.parameters, key=lambda setting: -next(iter(shares.values()))[setting])
        pairs = figures.pairs_of(ranked)
        about = "The most important settings, in pairs."
        yield made("contour", about, figures.contour(trials, sweep.parameters, pairs, path("contour"), **common))
    if len(sweep.objectives) == 2:
        again = {index: (ratios_again[0], ratios_again[1]) for index, ratios_again in one.retested().items()}
        measures = [MEASURES[objective].title for objective in sweep.objectives]
        about = "Both objectives, and the trade-off between them."
        yield made("pareto", about, figures.pareto(trials, again, path("pareto"), measures=measures, title=label))


def _carried(found: SweepOutcome, method: str, cells: Sequence[Cell], folder: Path) -> Figure:
    ratios: dict[str, dict[tuple[str, str], tuple[float, str, str]]] = {}
    for cell in cells:
        c = cell.comparison
        if c.n:
            written, number = ratio_text(c.ratio_low, c.ratio_high), c.ratio if 0 < c.ratio < math.inf else math.nan
            of = ratios.setdefault(report.YARDSTICKS[cell.against], {})
            of[cell.tuned_on, cell.run_on] = number, written, c.verdict
    tuned_on = list(dict.fromkeys(cell.tuned_on for cell in cells))
    measure, several = MEASURES[found.study.primary].title, len(found.study.sweeps) > 1
    name, title = (f"carry-over-{method}", f"{method}: {measure}") if several else ("carry-over", measure)
    paths = figures.carried(ratios, tuned_on, list(found.study.tasks), folder / safe_name(name), measure=title)
    whose = f"of {method} " if several else ""
    return figure_of("carry-over", "", f"Settings {whose}tuned on one task, compared on the others.", paths)


def _log(log: TrialLogger, found: SweepOutcome, written: Sequence[Path]) -> None:
    several = len(found.study.sweeps) > 1
    cells = {
        f"{cell.run_on}/{f'{cell.method}-' if several else ''}tuned-on-{cell.tuned_on}-vs-{cell.against}":
        cell.comparison
        for cell in found.compared.cells
    } | {f"{c.task}/{c.method}-vs-{c.baseline}": c for c in found.compared.tuned}  # fmt: skip
    metrics = {
        f"stat/{name}/{key.removeprefix('stat/')}": value
        for name, c in cells.items()
        for key, value in c.metrics().items()
    }
    tags = {f"verdict/{name}": c.verdict for name, c in cells.items()}
    note = shortened(mlflow_page.spaced(document_markdown(report.answer_alone(found))))
    try:
        log.tracker.log_study(note, metrics, tags, written)
        mlflow_page.write_answer(log.tracker, found.study, report.sweep_headline(found), log.views)
    except Exception as error:  # the report on disk is complete
        log.console.print(f"The sweep's report is not in MLflow yet: {type(error).__name__}: {error}")
