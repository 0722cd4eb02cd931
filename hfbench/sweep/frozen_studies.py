"""Studies of what a sweep has frozen: the tuned methods against each other, and the carry-over of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hfbench.config.key_paths import with_values
from hfbench.config.study import OnTask, Study
from hfbench.config.sweep import Sweep
from hfbench.parts.families import fitted_name
from hfbench.sweep.retest import Winner


def name_of(method: str, task: str) -> str:
    """Name of the method with the settings frozen on a task."""
    return fitted_name(f"{method}_for_{task}")


def frozen_name(study: Study, method: str = "") -> str:
    """Name of the study that compares what a sweep has frozen; of several methods, one for the carry-over of each."""
    of_method = f"-{method}" if method and len(study.sweeps) > 1 else ""
    return fitted_name(f"{study.name}{of_method}-frozen")


def carry_over_study(study: Study, sweep: Sweep, frozen: Mapping[str, Winner]) -> Study | None:
    """The study that compares a method's settings frozen on each task; None if every task keeps the method unchanged.

    The unchanged method has the same settings everywhere.
    """
    base = study.methods[sweep.method]
    tuned = {
        name_of(base.name, task): with_values(study.method_on(task, base.name), winner.params, name_of(base.name, task))
        for task, winner in frozen.items()
        if not winner.kept
    }
    if not tuned:
        return None
    methods = {base.name: base, **tuned}
    return replace(
        study, name=frozen_name(study, base.name), question=_question(base.name, frozen), notes=_notes(sweep, study),
        methods=methods, baseline=base.name,
        on={
            task: replace(
                on_task,
                methods=tuple(methods),
                settings={name: method for name, method in on_task.settings.items() if name == base.name},
            )
            for task, on_task in study.on.items()
        },
        hypotheses=(), ablation=None, sweeps=(),
    )  # fmt: skip


def _question(method: str, frozen: Mapping[str, Winner]) -> str:
    return f"Do settings of {method} that were tuned on {' or '.join(frozen)} pay there, and elsewhere?"


def _notes(sweep: Sweep, study: Study) -> str:
    return (
        f"What is compared was frozen by the sweep of {study.name}: tuned on seeds {', '.join(map(str, sweep.seeds))}, "
        f"chosen on seeds {', '.join(map(str, sweep.retest))}, neither of which is run here."
    )


def tuned_study(study: Study, frozen: Mapping[str, Mapping[str, Winner]]) -> Study:
    """The study itself, where each tuned method has on each task the settings frozen there; `frozen` by method."""
    on = {task: _with_frozen(study, task, frozen) for task in study.on}
    notes = "\n\n".join(filter(None, [study.notes, _notes(study.sweeps[0], study)]))
    return replace(study, name=frozen_name(study), notes=notes, on=on, ablation=None, sweeps=())


def _with_frozen(study: Study, task: str, frozen: Mapping[str, Mapping[str, Winner]]) -> OnTask:
    """The task with all methods that were tuned on it, each with what was frozen."""
    on_task = study.on[task]
    tuned = {name: winners[task] for name, winners in frozen.items() if task in winners}
    own = {
        name: with_values(study.method_on(task, name), winner.params, name)
        for name, winner in tuned.items()
        if not winner.kept
    }
    methods = tuple(name for name in study.methods if name in on_task.methods or name in tuned)
    return replace(on_task, methods=methods, settings={**on_task.settings, **own})
