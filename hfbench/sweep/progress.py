"""Progress of a sweep: a line for every trial that ends, and on a terminal a bar for each task."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, TaskID

from hfbench.config.measures import MEASURES
from hfbench.execution.progress import bar_columns
from hfbench.messages import count, listed, wrap_text
from hfbench.report.wording import digits
from hfbench.statistics.planning import least_pairs
from hfbench.sweep.sampling import sampler_text
from hfbench.sweep.trial_rows import front, points
from hfbench.sweep.trials import COMPLETE, FAILED, Trial
from hfbench.sweep.tuning import PASSES, Tuning, observation_of


class Watcher(Protocol):
    def ended(self, tuning: Tuning, trial: Trial) -> None:
        """A trial has ended."""
        ...

    def retests(self, tuning: Tuning, runs: int, done: int) -> None:
        """The re-test of the best trials begins, with so many runs, some of which are done already."""
        ...

    def retested(self, tuning: Tuning) -> None:
        """A run of the re-test has ended."""
        ...

    def say(self, line: str) -> None:
        """A line about neither."""
        ...


@contextmanager
def watching(console: Console, tunings: Sequence[Tuning]) -> Iterator[Watcher]:
    """Shows the sweep until the block ends."""
    for line in [*map(_announcement, tunings), *_warning(tunings)]:
        console.print(wrap_text(line, console.width, "  "), highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield TrialLines(console)
        return
    with TrialBars(console, tunings) as bars:
        yield bars


class TrialLines:
    """`usps trial 12/40: 0.85x of shf; best 0.62x, trial 9`.

    A trial that ends before the untuned one has no ratio yet. Its line waits for that, and follows it.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.waiting: dict[str, list[Trial]] = {}  # by label

    def ended(self, tuning: Tuning, trial: Trial) -> None:
        waiting = self.waiting.setdefault(tuning.task.label, [])
        waiting.append(trial)
        if tuning.all[0].ended:
            self._describe_waiting(tuning)

    def retests(self, tuning: Tuning, runs: int, done: int) -> None:
        self._describe_waiting(tuning)
        already = f", {done} made already" if done else ""
        self.say(f"{tuning.task.label}: the best are re-tested, {runs} runs on fresh seeds{already}")

    def retested(self, tuning: Tuning) -> None:
        pass

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    def _describe_waiting(self, tuning: Tuning) -> None:
        for trial in sorted(self.waiting.pop(tuning.task.label, []), key=lambda trial: trial.index):
            self.say(describe_trial(tuning, trial))


class TrialBars(Progress):
    """A bar for each method and task, below the lines of the trials."""

    def __init__(self, console: Console, tunings: Sequence[Tuning]) -> None:
        super().__init__(*bar_columns(), console=console, refresh_per_second=4)
        self.lines = TrialLines(console)
        self.bars: dict[str, TaskID] = {}
        for tuning in tunings:
            done, total, note = extent(tuning)
            self.bars[tuning.task.label] = self.add_task(tuning.task.label, total=total, completed=done, note=note)

    def ended(self, tuning: Tuning, trial: Trial) -> None:
        self.lines.ended(tuning, trial)
        done, _, note = extent(tuning)
        self.update(self.bars[tuning.task.label], completed=done, note=f"{note}, {best(tuning)}")

    def retests(self, tuning: Tuning, runs: int, done: int) -> None:
        self.lines.retests(tuning, runs, done)
        self.update(self.bars[tuning.task.label], total=runs, completed=0, note="tested again")

    def retested(self, tuning: Tuning) -> None:
        self.advance(self.bars[tuning.task.label])

    def say(self, line: str) -> None:
        self.lines.say(line)


def extent(tuning: Tuning) -> tuple[int, int, str]:
    """How far a tuning is, how far it goes, and both in words: in passes, if these bound it, else in trials."""
    ended = [trial for trial in tuning.all.values() if trial.ended]
    if not tuning.sweep.passes:
        return len(ended), tuning.sweep.trials, f"{len(ended)}/{tuning.sweep.trials} trials"
    passes, limit = round(tuning.spent(ended, PASSES)), round(tuning.sweep.passes[tuning.task.name])
    return min(passes, limit), limit, f"{count(len(ended), 'trial')}, {passes}/{limit} passes"


def describe_trial(tuning: Tuning, trial: Trial) -> str:
    """One trial in one line."""
    last = f"/{tuning.sweep.trials - 1}" if not tuning.sweep.passes else ""
    head = f"{tuning.task.label} trial {trial.index}{last}"
    if trial.state == FAILED:
        return f"{head}: failed: {trial.why}"
    method, first = tuning.task.method.name, tuning.all[0]
    if trial.index == 0:
        return f"{head}: {method} untuned"
    values = observation_of(trial, first, tuning.sweep).values or ()
    ratio = f"{' and '.join(f'{digits(math.exp(value))}x' for value in values)} of {method}"
    if trial.state == COMPLETE:
        return f"{head}: {ratio}; {best(tuning)}"
    return f"{head}: ended after {count(len(trial.measures), 'seed')} at {ratio}; {best(tuning)}"


def best(tuning: Tuning) -> str:
    """`best 0.62x, trial 9`, or of several objectives `front: trials 3, 9`."""
    first = tuning.all[0]
    able = (
        [trial for trial in points(tuning.all, tuning.sweep) if trial.complete and trial.allowed] if first.ended else []
    )
    if not able:
        return "none complete yet"
    if len(tuning.sweep.objectives) > 1:
        best = sorted(point.index for point in front(able))
        return f"front: {'trial' if len(best) == 1 else 'trials'} {', '.join(map(str, best))}"
    one = min(able, key=lambda one: (one.ratios, one.index))
    return f"best {digits(one.ratios[0])}x, trial {one.index}"


def _warning(tunings: Sequence[Tuning]) -> Iterator[str]:
    """Warnings if seeds are too few for any verdict on the frozen settings, or if missing a target may look cheap."""
    study = tunings[0].task.study
    family = len(tunings) * len(study.tasks) if tunings[0].sweep.carry_over else len(tunings)
    seeds, least = min(len(on_task.seeds) for on_task in study.on.values()), least_pairs(study.alpha, family)
    if len(tunings[0].sweep.objectives) == 1 and seeds < least:
        comparisons = count(family, "comparison")
        yield f"study.seeds has {seeds}: a verdict with up to {comparisons} needs {least}."
    yield from _unlimited(tunings)


def _unlimited(tunings: Sequence[Tuning]) -> Iterator[str]:
    """Advice for tasks whose budget has no limit on a cost that is tuned by."""
    budgets = {
        tuning.task.name: tuning.task.spec(tuning.task.first, tuning.sweep.seeds[0]).budget for tuning in tunings
    }
    for objective in tunings[0].sweep.objectives:
        unit = MEASURES[objective].limit
        without = [task for task, budget in budgets.items() if unit and unit not in budget]
        if without:
            yield (
                f"Advice: limit {unit} in the budget of {listed(without)}: a run that misses its target counts by that "
                f"limit. Without one it counts by the {unit} that it took, which may be less than reaching it takes."
            )


def _announcement(tuning: Tuning) -> str:
    sweep, done = tuning.sweep, sum(trial.ended for trial in tuning.all.values())
    already = f", {done} made already" if done else ""
    sizes = f"{count(len(sweep.parameters), 'setting')}, {count(len(sweep.seeds), 'seed')}"
    how = f"sampler {sampler_text(sweep)}; pruner {sweep.pruner}"
    trials = f"{sweep.trials} trials"
    if sweep.passes:
        trials = f"{sweep.passes[tuning.task.name]:g} passes of trials"
    of = f" of {sweep.method}" if tuning.task.label == tuning.task.name else ""
    return f"{tuning.task.label}: {trials}{of}{already}, {sizes}; {how}"
