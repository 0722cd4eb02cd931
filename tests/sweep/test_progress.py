"""Progress of a sweep: a line for every trial that has ended, and the best so far."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.sweep_stand_ins import FIRST, Bowl, Memory, sweep

from hfbench.execution.screen import Screen
from hfbench.sweep.progress import TrialLines, best, describe_trial, watching
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED, RUNNING, Trial
from hfbench.sweep.tuning import Tuning

SEEDS = (1000, 1001)


def tuning(*trials: Trial, **changes: Any) -> Tuning:
    made = Memory()
    made.found = {trial.index: trial for trial in trials}
    task: Any = Bowl(sweep(seeds=SEEDS, trials=5, **changes))
    task.method = SimpleNamespace(name="shf")
    return Tuning(task, made)  # type: ignore[arg-type]


def trial(
    index: int, cost: float, state: str = COMPLETE, distinct: float = 1.0, seeds: tuple[int, ...] = SEEDS
) -> Trial:
    measures = {seed: {"work_to_target": cost, "distinct_to_target": distinct} for seed in seeds}
    return Trial(index, index, FIRST, state, "here", str(index), measures)


def test_a_trial_is_told_in_one_line() -> None:
    shown = tuning(trial(0, 10.0), trial(1, 5.0), trial(2, 20.0, PRUNED, seeds=SEEDS[:1]), trial(3, 8.0))
    told = [describe_trial(shown, shown.all[index]) for index in range(4)]
    assert told[0] == "bowl trial 0/4: shf untuned"
    assert told[1] == "bowl trial 1/4: 0.50x of shf; best 0.50x, trial 1"
    assert told[2] == "bowl trial 2/4: ended after 1 seed at 2.00x of shf; best 0.50x, trial 1"
    failed = replace(trial(4, 1.0), state=FAILED, why="it broke")
    assert describe_trial(shown, failed) == "bowl trial 4/4: failed: it broke"


def test_a_trial_that_ends_before_the_untuned_one_is_told_after_it_with_its_ratio() -> None:
    screen = io.StringIO()
    shown = tuning(trial(0, 10.0, RUNNING), trial(1, 5.0))
    lines = TrialLines(Screen(file=screen, width=80))
    lines.ended(shown, shown.all[1])
    assert (screen.getvalue(), best(shown)) == ("", "none complete yet")
    shown.all[0] = trial(0, 10.0)
    lines.ended(shown, shown.all[0])
    assert screen.getvalue().splitlines() == [
        "bowl trial 0/4: shf untuned",
        "bowl trial 1/4: 0.50x of shf; best 0.50x, trial 1",
    ]


def test_trials_are_told_by_the_re_test_at_the_latest() -> None:
    screen = io.StringIO()
    shown = tuning(trial(0, 10.0, RUNNING), trial(1, 5.0))
    lines = TrialLines(Screen(file=screen, width=80))
    lines.ended(shown, shown.all[1])
    shown.all[0] = trial(0, 10.0)  # another process has ended it
    lines.retests(shown, 10, 0)
    assert screen.getvalue().splitlines()[0] == "bowl trial 1/4: 0.50x of shf; best 0.50x, trial 1"


def test_of_several_objectives_the_front_is_told() -> None:
    objectives = ("work_to_target", "distinct_to_target")
    shown = tuning(trial(0, 10.0), trial(1, 5.0, distinct=3.0), trial(2, 20.0, distinct=0.5), objectives=objectives)
    assert best(shown) == "front: trials 0, 1, 2"
    assert "0.50x and 3.00x of" in describe_trial(shown, shown.all[1])


def test_lines_are_neither_wrapped_nor_taken_for_markup() -> None:
    screen = io.StringIO()
    shown = tuning(trial(0, 10.0))
    lines = TrialLines(Screen(file=screen, width=20))
    lines.ended(shown, replace(trial(1, 1.0), state=FAILED, why="[bold]a long reason[/bold] that goes on"))
    lines.retests(shown, 10, 4)
    assert screen.getvalue().splitlines() == [
        "bowl trial 1/4: failed: [bold]a long reason[/bold] that goes on",
        "bowl: the best are re-tested, 10 runs on fresh seeds, 4 made already",
    ]


@pytest.mark.parametrize(
    ("objective", "told"),
    [
        ("work_to_target", []),
        ("distinct_to_target", []),
        (
            "seconds_to_target",
            [
                "Advice: limit seconds in the budget of bowl: a run that misses its target counts by that limit. "
                "Without one it counts by the seconds that it took, which may be less than reaching it takes."
            ],
        ),
    ],
)
def test_a_cost_without_a_limit_is_told_before_the_trials(objective: str, told: list[str]) -> None:
    screen = io.StringIO()
    shown = tuning(objectives=(objective,))
    on_task = SimpleNamespace(seeds=range(30))
    task: Any = shown.task
    task.study = SimpleNamespace(tasks=["bowl"], alpha=0.05, on={"bowl": on_task})
    with watching(Screen(file=screen, width=400), [shown]):
        pass
    assert [line for line in screen.getvalue().splitlines() if line.startswith("Advice")] == told
