"""Tables that a sweep prints: frozen settings, the front, and the carry-over."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from hfbench.config.measures import MEASURES
from hfbench.config.search_ranges import searched, shown
from hfbench.config.study import Study
from hfbench.messages import level_text
from hfbench.report import comparison_text
from hfbench.report.grid import Pieces
from hfbench.report.wording import Name, Verdict, digits, grid_of, stacked
from hfbench.statistics.comparisons import Comparison
from hfbench.sweep import equal_tuning, report
from hfbench.sweep.carry_over import Cell
from hfbench.sweep.outcome import TaskOutcome
from hfbench.sweep.trial_rows import front


def show_frozen(one: TaskOutcome, console: Console) -> None:
    """Prints the frozen settings of a task next to the method's own, or the front of several objectives."""
    console.print()
    if one.frozen is None:
        console.print(_front(one))
        return
    grid = grid_of(Text.assemble((one.task.label, "bold"), f" · settings of {one.task.method.name}"))
    grid.add_column("setting", overflow="fold")
    for name in ("untuned", "frozen"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("searched", overflow="fold")
    for path, search in one.task.sweep.parameters.items():
        values = (shown(params[path]) for params in (one.task.first, one.frozen.params))
        grid.add_row(Name(path), *values, Text(searched(search)))
    console.print(grid)
    console.print(" ".join(report.told(one)), highlight=False)


def _front(one: TaskOutcome) -> Any:
    names = [MEASURES[objective].title for objective in one.task.sweep.objectives]
    grid = grid_of(Text.assemble((one.task.label, "bold"), f" · the front, ratios to {one.task.method.name}"))
    grid.add_column("trial", justify="right")
    for name in [*names, *(f"{name}, again" for name in names)]:
        grid.add_column(name, justify="right")
    again = one.retested()
    for point in front(one.points):
        later = [f"{digits(ratio)}x" for ratio in again.get(point.index, ())] or ["–"] * len(names)
        grid.add_row(str(point.index), *(f"{digits(ratio)}x" for ratio in point.ratios), *later)
    return grid


def show_costs(swept: Sequence[TaskOutcome], console: Console) -> None:
    """Prints, for each task, what the tuning of each method took and gave."""
    for task, of_task in equal_tuning.outcomes_by_task(swept).items():
        console.print()
        title = Text.assemble((task, "bold"), " · what the tuning took, and gave on fresh seeds")
        grid = grid_of(title, equal_tuning.cost_caption(of_task[0]))
        for index, name in enumerate(equal_tuning.HEAD):
            grid.add_column(name, overflow="fold", justify="right" if index else "left")
        for outcome in of_task:
            name, *numbers = equal_tuning.cost_row(outcome)
            grid.add_row(Name(name), *numbers)
        console.print(grid)


def show_matrix(cells: Sequence[Cell], study: Study, console: Console) -> None:
    """Prints the carry-over: settings tuned on one task, compared on the others."""
    several = len(study.sweeps) > 1
    for against, said in report.YARDSTICKS.items():
        chosen = [cell for cell in cells if cell.against == against]
        if not chosen:
            continue
        console.print()
        grid = grid_of(Text.assemble(("carry-over", "bold"), f" · {MEASURES[study.primary].title}, ratio to {said}"))
        for name in (*(["method"] * several), "tuned on", "run on"):
            grid.add_column(name, overflow="fold")
        usual = chosen[0].comparison.level
        for name in ("ratio", f"{level_text(usual)} CI", "p Holm"):
            grid.add_column(name, justify="right")
        grid.add_column("verdict", min_width=12)
        for cell in chosen:
            method = [Name(cell.method)] * several
            grid.add_row(*method, Name(cell.tuned_on), Name(cell.run_on), *_numbers(cell.comparison, usual))
        console.print(grid)


def _numbers(c: Comparison, usual: float) -> tuple[str | Pieces, ...]:
    return *stacked(comparison_text.cells(c, usual)[:3]), Verdict(c.verdict)
