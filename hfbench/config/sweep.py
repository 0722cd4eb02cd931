"""`[sweep]`: the settings of methods that are searched, the sampler, and the seeds.

A sweep tunes a method on seeds A, re-tests the best trials on fresh seeds B and freezes one. The frozen settings are
then compared on the study's seeds C, which neither phase has used. Of several methods each has the same seeds, and as
many trials or passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Annotated, Any

from hfbench import messages
from hfbench.config.measures import AT_TARGET, MEASURES, costs
from hfbench.config.methods import Method
from hfbench.config.search_ranges import search_ranges
from hfbench.config.table_checks import check_known, checked, distinct, seeds_of, table_of
from hfbench.config.usual_ranges import usual_paths
from hfbench.errors import ConfigError
from hfbench.messages import listed, quoted
from hfbench.parts import hyperparameters
from hfbench.parts.hyperparameters import Choice, Search, Within, part

FINAL_ERRORS = ("final_validation_error", "final_test_error")
SAMPLERS = ("auto", "gp", "tpe", "random", "grid")
FIRST_TUNING_SEED, FIRST_RETEST_SEED = 1000, 2000  # of seeds given as a count; a study's own count from 0
MOST_FOR_GP = 5  # parameters
USUAL_TRIALS, MOST_TRIALS = 40, 10_000
PRUNING_P = 0.2
STARTUP = math.ceil(-math.log2(PRUNING_P))  # seeds before which no one-sided p is below that: 2^-n


@dataclass(frozen=True)
class Constraint:
    """Upper bound on the mean ratio of a measure to that of the untuned method."""

    measure: str
    at_most: float


@dataclass(frozen=True)
class Sweep:
    """The resolved sweep of one method; see `SweepTable`."""

    method: str
    tasks: tuple[str, ...]
    parameters: dict[str, Search]  # by key path into the method
    objectives: tuple[str, ...]
    constraint: Constraint | None
    seeds: tuple[int, ...]
    retest: tuple[int, ...]
    trials: int  # the first, the untuned method, included
    hours: float | None
    passes: dict[str, float]  # by task; empty: no limit
    ahead: int
    sampler: str
    startup_trials: int
    pruner: str
    candidates: int
    carry_over: bool

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures kept of every run: first the objectives, then the constrained ones."""
        constrained = [self.constraint.measure] if self.constraint else []
        return tuple(dict.fromkeys([*self.objectives, *constrained]))


@part
class SweepTable:
    """The table as the study file has it."""

    method: Annotated[str | None, "the method to tune; its own settings are the first trial"] = None
    methods: Annotated[list[str] | None, "in place of `method`: several, each with as many trials or passes"] = None
    tasks: Annotated[list[str] | None, "tasks to tune on, each separately; all tasks of the study if not given"] = None
    parameters: Annotated[
        dict[str, Any],
        "search ranges by key path of the method, {} for the declared one; of several methods a table for each",
    ] = field(default_factory=dict)
    objective: Annotated[str | list[str] | None, "measures to minimise; the study's primary cost if not given"] = None
    constraint: Annotated[dict[str, Any] | None, "measure and its largest ratio to the first trial"] = None
    seeds: Annotated[int | list[int], "seeds of the trials: a count, from 1000 on, or a list"] = 5
    retest: Annotated[int | list[int], "fresh seeds for the best trials: a count, from 2000 on, or a list"] = 5
    trials: Annotated[int | None, Within(f"[2, {MOST_TRIALS}]"), "number of trials; 40, unless there are `passes`"] = (
        None
    )
    hours: Annotated[
        float | None, Within("(0, 100000]"), "no trial starts once the earlier ones have taken this long"
    ] = None
    passes: Annotated[
        float | dict[str, float] | None,
        Within("(0, 1e12]"),
        "no trial starts once the earlier ones have taken so many passes; a number, or one for each task",
    ] = None
    ahead: Annotated[int, Within("[1, 100]"), "number of trials started before the result of the first is used"] = 4
    sampler: Annotated[str, Choice(*SAMPLERS), "sampler of the settings; auto: gp for up to 5 numbers, else tpe"] = (
        "auto"
    )
    startup_trials: Annotated[
        int, Within("[1, 10000]"), "number of ended trials from which gp and tpe learn; with fewer they draw at random"
    ] = 10
    pruner: Annotated[str, Choice("auto", "wilcoxon", "none"), "ends trials that are worse than the best"] = "auto"
    candidates: Annotated[int, Within("[1, 100]"), "number of the best trials to re-test"] = 5
    carry_over: Annotated[bool, "whether what is frozen on a task is compared on the others, too"] = True


@part
class _ConstraintTable:
    measure: Annotated[str, Choice(*MEASURES), "the measure to bound"]
    at_most: Annotated[float, Within("(0, 1000]"), "largest mean ratio to the first trial"]


def sweeps_of(
    table: Mapping[str, Any],
    methods: Mapping[str, Method],
    tasks: Sequence[str],
    primary: str,
    compared: Mapping[str, Sequence[int]],
    stops_at_target: bool,
    target_on: str,
) -> tuple[Sweep, ...]:
    """The checked sweeps of a study file, one for each method; `compared` are the study's own seeds by task.

    Raises ConfigError with the key path of an error.
    """
    given = hyperparameters.build_part(SweepTable, table, "sweep")
    names = _tuned(given, methods)
    chosen = list(tasks) if given.tasks is None else distinct(given.tasks, "sweep.tasks")
    for name in chosen:
        check_known(name, tasks, "sweep.tasks", "task")
    objectives = _objectives(given.objective, primary, [methods[name] for name in names])
    constraint = _constraint(given.constraint)
    for name in (*objectives, *([constraint.measure] if constraint else [])):
        _check_error(name, target_on, stops_at_target)
    seeds = seeds_of(given.seeds, "sweep.seeds", FIRST_TUNING_SEED)
    retest = seeds_of(given.retest, "sweep.retest", FIRST_RETEST_SEED)
    check_disjoint(seeds, retest, compared)
    passes = _passes(given.passes, chosen, tasks)
    sweeps = []
    for name in names:
        parameters = _parameters_of(given, methods[name])
        sweep = Sweep(
            method=name,
            tasks=tuple(chosen),
            parameters=parameters,
            objectives=objectives,
            constraint=constraint,
            seeds=seeds,
            retest=retest,
            trials=_trials(given, parameters),
            hours=given.hours,
            passes=passes,
            ahead=given.ahead,
            sampler=_sampler(given.sampler, parameters, objectives),
            startup_trials=given.startup_trials,
            pruner=_pruner(given.pruner, objectives, seeds),
            candidates=given.candidates,
            carry_over=given.carry_over,
        )
        sweeps.append(sweep)
    _check_equal(sweeps)
    return tuple(sweeps)


def _tuned(given: SweepTable, methods: Mapping[str, Method]) -> list[str]:
    """Names of the methods to tune."""
    if (given.method is None) == (given.methods is None):
        stated = "neither is" if given.method is None else "both are"
        raise ConfigError(f"sweep.method: must be given, the method to tune, or else methods, several; {stated} there.")
    if given.method is not None:
        check_known(given.method, methods, "sweep.method", "method")
        return [given.method]
    for name in distinct(given.methods or [], "sweep.methods"):
        check_known(name, methods, "sweep.methods", "method")
    return given.methods or []


def _parameters_of(given: SweepTable, method: Method) -> dict[str, Search]:
    """The search ranges of a method; of one of several that has no table, those that are usual."""
    if given.methods is None:
        return search_ranges(given.parameters, "sweep.parameters", method, given.sampler)
    for name in given.parameters:
        check_known(name, given.methods, "sweep.parameters", "tuned method")
    where = f"sweep.parameters.{method.name}"
    table = table_of(given.parameters, method.name, "sweep.parameters.") or dict.fromkeys(usual_paths(method), {})
    return search_ranges(table, where, method, given.sampler)


def _trials(given: SweepTable, parameters: Mapping[str, Search]) -> int:
    """Number of trials, at most."""
    if given.sampler == "grid":
        return _grid_size(parameters)
    return given.trials or (USUAL_TRIALS if given.passes is None else MOST_TRIALS)


def _passes(given: float | dict[str, float] | None, tasks: Sequence[str], known: Sequence[str]) -> dict[str, float]:
    """Limits by tuned task; others of the study may have one, for a sweep that leaves them out for now."""
    if not isinstance(given, dict):
        return {} if given is None else dict.fromkeys(tasks, given)
    for name in given:
        check_known(name, known, f"sweep.passes.{name}", "task")
    if lacking := [name for name in tasks if name not in given]:
        raise ConfigError(
            f"sweep.passes: must be a number, or have one for each tuned task, but lacks {listed(lacking)}."
        )
    positive = Within("(0, 1e12]")
    return {name: checked(given[name], float, positive, f"sweep.passes.{name}") for name in tasks}


def _check_equal(sweeps: Sequence[Sweep]) -> None:
    """A grid has as many trials as points: of several methods they must be as many."""
    trials = {sweep.method: sweep.trials for sweep in sweeps}
    if len(set(trials.values())) > 1:
        sizes = ", ".join(f"{n} of {name}" for name, n in trials.items())
        raise ConfigError(
            f"sweep.sampler: a grid must have as many points for each of the methods, but there are {sizes}. Take "
            "other values, or another sampler."
        )


# ---------------------------------------------------------------- what is minimised


def _check_error(measure: str, target_on: str, stops_at_target: bool) -> None:
    """Raises ConfigError for an error that tells nothing, or that is of other cases than those that may decide."""
    held = f"final_{target_on}_error"
    if measure != held and measure in (*FINAL_ERRORS, AT_TARGET):
        raise ConfigError(
            f"sweep: must tune by a cost to the target or by {held}, since study.target_on is {quoted(target_on)}, but "
            f"names {measure}: no test is left on cases that have decided."
        )
    if measure == held and stops_at_target:
        raise ConfigError(f"sweep: {held} says nothing if runs stop at the target; set study.stop_at_target to false.")


def _objectives(given: str | list[Any] | None, primary: str, methods: Sequence[Method]) -> tuple[str, ...]:
    where, allowed = "sweep.objective", (*costs(), *FINAL_ERRORS)
    chosen = distinct(given if isinstance(given, list) else [given or primary], where)
    for objective in chosen:
        if objective not in allowed:
            close = messages.did_you_mean(objective, allowed)
            raise ConfigError(f"{where}: must be among {', '.join(allowed)}, but got {quoted(objective)}{close}.")
    without = [method.name for method in methods if method.optimizer is not None]
    if "products_to_target" in chosen and without:
        raise ConfigError(f"{where}: {listed(without)} need no Gauss-Newton products; take work_to_target.")
    return tuple(chosen)


def _constraint(given: Mapping[str, Any] | None) -> Constraint | None:
    if given is None:
        return None
    table = hyperparameters.build_part(_ConstraintTable, given, "sweep.constraint")
    return Constraint(table.measure, table.at_most)


def check_disjoint(seeds: Sequence[int], retest: Sequence[int], compared: Mapping[str, Sequence[int]]) -> None:
    """Raises ConfigError unless all seeds are distinct: a setting chosen for its luck on some seeds keeps it there."""
    own = sorted({seed for seeds in compared.values() for seed in seeds})
    sets = {"sweep.seeds": seeds, "sweep.retest": retest, "the seeds that are compared (study.seeds, on.<task>)": own}
    for (name, of_name), (other, of_other) in combinations(sets.items(), 2):
        common = sorted({*of_name} & {*of_other})
        if common:
            raise ConfigError(
                f"{name}: must have no seed in common with {other}, but both have {listed(common)}. "
                "Tuning, re-testing and comparing need fresh seeds each."
            )


# ---------------------------------------------------------------- how it is searched


def _grid_size(parameters: Mapping[str, Search]) -> int:
    """Number of trials of a grid. Raises ConfigError if it is more than a sweep may have."""
    size = math.prod(len(search.values) for search in parameters.values() if isinstance(search, Choice))
    if size > MOST_TRIALS:
        raise ConfigError(f"sweep.parameters: a grid must have at most {MOST_TRIALS} points, but has {size}.")
    return size


def _sampler(given: str, parameters: Mapping[str, Search], objectives: Sequence[str]) -> str:
    if given != "auto":
        return given
    numbers = not any(isinstance(search, Choice) for search in parameters.values())
    return "gp" if numbers and len(parameters) <= MOST_FOR_GP and len(objectives) == 1 else "tpe"


def _pruner(given: str, objectives: Sequence[str], seeds: Sequence[int]) -> str:
    """The pruner, or none. It ends a trial after three seeds at the earliest: with no more it would save nothing."""
    able = len(objectives) == 1 and len(seeds) > STARTUP
    if given == "wilcoxon" and not able:
        why = (
            f"it must have more than {STARTUP} seeds, but sweep.seeds has {len(seeds)}"
            if len(objectives) == 1
            else f"it must have one objective, but there are {len(objectives)}"
        )
        raise ConfigError(f"sweep.pruner: {why}. Change that or set sweep.pruner to none.")
    return "wilcoxon" if able and given != "none" else "none"


def extent_text(sweep: Sweep) -> str:
    """How long a method is tuned on a task: `40 trials`, `trials of 900 passes`, of several tasks with their names."""
    if not sweep.passes:
        return f"{sweep.trials} trials"
    limits = set(sweep.passes.values())
    if len(limits) == 1:
        return f"trials of {limits.pop():g} passes"
    return f"trials of {listed(f'{limit:g} passes on {task}' for task, limit in sweep.passes.items())}"
