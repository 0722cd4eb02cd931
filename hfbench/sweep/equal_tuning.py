"""Several methods tuned alike: what each tuning took, and what it gave on fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hfbench.config.measures import MEASURES
from hfbench.report.document import Block, Heading, Table, Text
from hfbench.report.study_report import figure_images
from hfbench.report.wording import digits, duration
from hfbench.sweep.trial_rows import OF_A_MISS
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED
from hfbench.sweep.tuning import PASSES, SECONDS

if TYPE_CHECKING:
    from hfbench.sweep.outcome import SweepOutcome, TaskOutcome

HEAD = ("method", "trials", "passes", "again", "time", "untuned", "frozen", "ratio", "optimism")
COUNTED = "Trials: complete, ended early, failed; passes: of all of them; again: those of the re-test; time: of both"


def tuned_alike(found: SweepOutcome) -> Iterator[Block]:
    """A table and a figure for each task."""
    yield Heading("What the tuning took, and gave")
    for task, of_task in outcomes_by_task(found.swept).items():
        yield Heading(f"On {task}", 3)
        rows: list[list[Text]] = [list(cost_row(outcome)) for outcome in of_task]
        yield Table(HEAD, rows, cost_caption(of_task[0]))
        yield from figure_images(found.figures, "tuning", task)


def cost_caption(one: TaskOutcome) -> str:
    """What the columns of a cost row are."""
    sweep = one.task.sweep
    measure = MEASURES[sweep.objectives[0]]
    missed = f"; a miss {OF_A_MISS}" if measure.is_cost else ""
    given = f"untuned and frozen: {measure.title}, geometric mean over the fresh seeds{missed}"
    return f"{COUNTED}; {given}. Optimism: by how much the tuning's winner was worse there."


def cost_row(one: TaskOutcome) -> tuple[str, ...]:
    """A method's row: its trials, what they took, what the method cost untuned and frozen, ratio and optimism."""
    states = [sum(trial.state == state for trial in one.trials.values()) for state in (COMPLETE, PRUNED, FAILED)]
    passes, again = (one.taken(PASSES, again) for again in (False, True))
    seconds = sum(one.taken(SECONDS, again) for again in (False, True))
    taken = ("/".join(map(str, states)), f"{passes:.0f}", f"{again:.0f}", duration(seconds))
    if one.frozen is None:
        return (one.task.method.name, *taken, "–", "–", "–", "–")
    untuned, frozen = one.objective_again(0), one.objective_again(one.frozen.index)
    gap = f"{100 * (math.exp(-one.frozen.optimism) - 1):+.0f} %" if one.frozen.candidates else "–"
    kept = one.frozen.kept
    given = ("kept", "–") if kept else (digits(frozen), f"{digits(frozen / untuned)}x")
    return (one.task.method.name, *taken, digits(untuned), *given, gap)


def outcomes_by_task(swept: Sequence[TaskOutcome]) -> dict[str, list[TaskOutcome]]:
    """The outcomes of each task."""
    groups: dict[str, list[TaskOutcome]] = {}
    for outcome in swept:
        groups.setdefault(outcome.task.name, []).append(outcome)
    return groups
