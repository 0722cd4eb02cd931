"""Coverage of a study: every method, claim and ablation of its file is run on some task, and compared there.

The number of its runs is bounded.
"""

from __future__ import annotations

from hfbench.config.study import Study
from hfbench.errors import ConfigError
from hfbench.messages import listed

MOST_RUNS = 100_000


def check_coverage(study: Study) -> None:
    """Raises ConfigError if the `[on.<task>]` tables leave out a part of the study.

    Some task must run every method, unless a sweep tunes it; both methods of every claim; and all methods of a
    factorial ablation. A task that runs a method with `batches_of` must run the method that it names.
    """
    _check_number(study)
    _check_methods(study)
    _check_followed(study)
    _check_claims(study)
    _check_factorial(study)


def _check_number(study: Study) -> None:
    runs = sum(len(on_task.methods) * len(on_task.seeds) for on_task in study.on.values())
    if runs > MOST_RUNS:
        raise ConfigError(f"study.seeds: a study must have at most {MOST_RUNS} runs, but this one has {runs}.")


def uncompared(study: Study) -> list[str]:
    """A sentence for each task that runs the baseline alone, in a study that has other methods."""
    if len(study.methods) < 2:
        return []
    return [
        f"on.{task}: nothing is compared on {task}, since only the baseline '{study.baseline}' is run there. "
        f"List another method for it (on.{task}.methods, --only), or take it out of study.tasks."
        for task, on_task in study.on.items()
        if on_task.methods == (study.baseline,)
    ]


def _check_methods(study: Study) -> None:
    run = {name for on_task in study.on.values() for name in on_task.methods}
    tuned = {sweep.method for sweep in study.sweeps}
    never = [name for name in study.methods if name not in run | tuned]
    if never:
        tables = listed(f"on.{task}.methods" for task in study.on)
        raise ConfigError(
            f"on: some task must run every method, but none runs {listed(never)}. Add it to {tables}, or take it "
            "out of the study."
        )


def _check_followed(study: Study) -> None:
    for task, on_task in study.on.items():
        for name in on_task.methods:
            followed = study.methods[name].batches_of
            if followed is not None and followed not in on_task.methods:
                raise ConfigError(
                    f"on.{task}.methods: must include '{followed}', whose batches '{name}' replays, but got "
                    f"{listed(on_task.methods)}."
                )


def _check_claims(study: Study) -> None:
    for claim in study.hypotheses:
        both = {claim.method, claim.against}
        if not any(both <= set(on_task.methods) for on_task in study.on.values()):
            raise ConfigError(
                f"hypotheses.{claim.name}: some task must run both '{claim.method}' and '{claim.against}', but none "
                "does. Add them to the methods of one task, or delete the claim."
            )


def _check_factorial(study: Study) -> None:
    if study.ablation is None or study.ablation.design != "factorial":
        return
    lacking = {
        task: [name for name in study.ablation.levels if name not in on_task.methods]
        for task, on_task in study.on.items()
    }
    if all(lacking.values()):
        task = min(lacking, key=lambda name: len(lacking[name]))
        raise ConfigError(
            f"ablation: some task must run all {len(study.ablation.levels)} methods of the factorial design, but none "
            f"does; {task} lacks {listed(lacking[task])}. Add them to on.{task}.methods, or choose another design."
        )
