"""Loader of study files: TOML, every key checked, every default spelled out.

The settings a part accepts are read from the part itself. A message names the file, the key path, the value given, the
values allowed and the nearest known name.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from hfbench.config.ablation import Ablation, AblationTable, expand
from hfbench.config.coverage import check_coverage
from hfbench.config.devices import check_device
from hfbench.config.hypotheses import hypotheses
from hfbench.config.measures import costs
from hfbench.config.methods import Method, check_followed, part_of, resolve
from hfbench.config.on_tasks import budget_of, on_tasks
from hfbench.config.overrides import blaming, override, path_of
from hfbench.config.raw_values import check_raw
from hfbench.config.study import INTERVAL, TARGET_ON, OnTask, Study
from hfbench.config.sweep import Sweep, sweeps_of
from hfbench.config.table_checks import check_known, checked, distinct, seeds_of, table_of, tables_of
from hfbench.config.variant import StudyVariant
from hfbench.errors import ConfigError, UnknownPartError
from hfbench.messages import did_you_mean, listed, printable_line, quoted
from hfbench.parts import hyperparameters
from hfbench.parts.families import check_name
from hfbench.parts.hyperparameters import Choice, Within, part
from hfbench.parts.plugin_files import load_plugin as load_plugin
from hfbench.regular_files import read_regular_file

SEEDS = "study.seeds"
KEEP_WEIGHTS = "study.keep_weights"
LARGEST = 4 << 20  # bytes of a study file


# ---------------------------------------------------------------- the tables of a file, as written


@part
class _StudyTable:
    name: Annotated[str, "name of the study"]
    question: Annotated[str, "what the study asks"] = ""
    notes: Annotated[str, "remarks for the readers of the report, such as pilot runs"] = ""
    tasks: Annotated[list[str], "names of tasks"]
    seeds: Annotated[int | list[int], "number of seeds, or a list of seeds"]
    budget: Annotated[dict[str, float], "limits of a run; the first one reached ends it"] = field(default_factory=dict)
    primary: Annotated[str, Choice(*costs()), "the cost that is compared"] = "work_to_target"
    targets: Annotated[dict[str, float], "error that ends a run, by task"] = field(default_factory=dict)
    target_on: Annotated[str, Choice(*TARGET_ON), "cases whose error is held against the target"] = "validation"
    margin: Annotated[float, Within("(1, 10]"), "ratios within it count as equivalent"] = 1.10
    alpha: Annotated[float, Within("(0, 0.5]"), "level of the tests"] = 0.05
    test: Annotated[str, Choice("wilcoxon", "sign"), "test of a difference; sign for skewed log ratios"] = "wilcoxon"
    looks: Annotated[list[int], "numbers of seeds at which it is judged, sharing alpha; once if not given"] = field(
        default_factory=list
    )
    baseline: Annotated[str, "the method the others are compared with"]
    precision: Annotated[str, Choice("float32", "float64"), "precision of weights and data"] = "float32"
    evaluate_every: Annotated[int | None, INTERVAL, "steps from one evaluation to the next; else the task's"] = None
    device: Annotated[str, "device of model and data: cpu, cuda or cuda:<n>"] = "cpu"
    stop_at_target: Annotated[bool, "whether reaching the target ends a run"] = True
    keep_weights: Annotated[bool, "whether the weights at the end of each run are kept"] = False


@part
class _PluginsTable:
    files: Annotated[list[str], "Python files that add parts, from the study file's folder"] = field(
        default_factory=list
    )


# ---------------------------------------------------------------- loading


def load_study(
    name_or_path: str,
    overrides: Sequence[str] = (),
    seeds: int | str | None = None,
    only: Sequence[str] = (),
    plugin_files: Sequence[str | Path] = (),
) -> Study:
    """The checked study of a shipped name or a file.

    `plugin_files` are loaded first, then those of the study file (hfbench/parts/plugin_files.py). `overrides` are
    `key.path=value` with a TOML value; bare words are strings. `seeds` replaces the file's: a count, "3,5,8" or
    "10-19". An override of study.seeds does the same where no task has seeds of its own. `only` keeps these methods and
    the baseline. Raises ConfigError or UnknownPartError with one message for the first error, which names the key and
    says whether it comes from the file or from an override.
    """
    given = tuple(str(load_plugin(file)) for file in plugin_files)
    raw, source, label = _read(name_or_path)
    paths = [path_of(assignment) for assignment in overrides]
    with blaming(label, paths):
        check_raw(raw)
        in_file = _seeds_of_every_task(raw)
        changes = [assignment for assignment in overrides if override(raw, assignment)]
        changes = [assignment for assignment in changes if path_of(assignment) != KEEP_WEIGHTS]  # of the same study
        check_raw(raw)
        study = _study(raw, source, given)
        check_coverage(study)
    chosen = None if seeds is None else _option_seeds(seeds)
    if SEEDS in paths and in_file and all(part.seeds == study.seeds for part in study.on.values()):
        chosen = chosen or study.seeds
        changes = [assignment for assignment in changes if path_of(assignment) != SEEDS]
        study = study.on_seeds(in_file)
    study = dataclasses.replace(study, variant=StudyVariant(sets=tuple(changes)))
    if chosen is not None:
        study = study.on_seeds(chosen)
        check_coverage(study)  # of more seeds there may be too many runs
        if study.looks and len(chosen) > study.looks[-1]:
            raise ConfigError(
                f"--seeds: the study declares its last look at {study.looks[-1]} seeds, but got {len(chosen)}. Seeds "
                "beyond it would not be judged; declare other looks before the first run."
            )
    return _keep(study, only) if only else study


def shipped_studies() -> dict[str, str]:
    """The question of every shipped study, by name."""
    files = [file for file in resources.files("hfbench.studies").iterdir() if file.name.endswith(".toml")]
    tables = {file.name.removesuffix(".toml"): tomllib.loads(file.read_text("utf-8")) for file in files}
    return {name: tables[name]["study"]["question"] for name in sorted(tables)}


def _read(name_or_path: str) -> tuple[dict[str, Any], str, str]:
    """The raw tables, the source to record, and the label that begins messages."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or os.sep in name_or_path:
        source = label = name_or_path
        read: Callable[[], bytes] = partial(read_regular_file, path, LARGEST)
    else:
        known = shipped_studies()
        if name_or_path not in known:
            raise UnknownPartError(
                f"no study {quoted(name_or_path)}{did_you_mean(name_or_path, known)}; shipped: {', '.join(known)}. "
                "For a file of your own, give its path ending in .toml."
            )
        source, label = "shipped", f"{name_or_path}.toml"
        read = (resources.files("hfbench.studies") / label).read_bytes
    try:
        return tomllib.loads(read().decode("utf-8")), source, label
    except OSError as error:
        raise ConfigError(f"{label}: the study file cannot be read: {error.strerror}.") from error
    except RecursionError as error:
        raise ConfigError(
            f"{label}: must be TOML in UTF-8: its lists or tables lie too deep in one another."
        ) from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number with more digits than Python reads
        raise ConfigError(f"{label}: must be TOML in UTF-8: {printable_line(str(error))}.") from error


# ---------------------------------------------------------------- checks


def _study(raw: Mapping[str, Any], source: str, given: tuple[str, ...]) -> Study:
    known = ("study", "tasks", "methods", "ablation", "on", "hypotheses", "sweep", "plugins")
    for key in raw:
        if key not in known:
            inside = [
                f"study.{hyperparameter.name}"
                for hyperparameter in hyperparameters.hyperparameters(_StudyTable)
                if hyperparameter.name == key
            ]
            close = f" (did you mean {inside[0]}?)" if inside else did_you_mean(key, known)
            raise ConfigError(f"{key}: unknown key{close}; known: {', '.join(known)}.")
    head = hyperparameters.build_part(_StudyTable, table_of(raw, "study"), "study")
    check_name(head.name, "study.name")
    loaded = tuple(dict.fromkeys([*given, *_plugins(table_of(raw, "plugins"), source)]))
    methods = {name: resolve(name, table) for name, table in tables_of(raw, "methods").items()}
    if not methods:
        raise ConfigError("methods: there must be at least one table such as [methods.hf].")
    check_known(head.baseline, methods, "study.baseline", "method")
    methods, ablation = _ablated(methods, raw, head.baseline)
    check_followed(methods)
    _check_comparable(methods, head.primary)
    tasks = _tasks(head.tasks, tables_of(raw, "tasks"))
    seeds, budget = seeds_of(head.seeds, SEEDS), budget_of(head.budget, "study.budget")
    everywhere = OnTask(tuple(methods), seeds, budget, evaluate_every=head.evaluate_every)
    on = on_tasks(tables_of(raw, "on"), list(tasks), everywhere, head.baseline, tables_of(raw, "methods"))
    return Study(
        name=head.name,
        question=head.question,
        notes=head.notes,
        tasks={name: settings for name, (_, settings) in tasks.items()},
        seeds=everywhere.seeds,
        budget=everywhere.budget,
        primary=head.primary,
        targets=_targets(head.targets, {name: task.target for name, (task, _) in tasks.items()}),
        target_on=head.target_on,
        margin=head.margin,
        alpha=head.alpha,
        test=head.test,
        looks=_looks(head.looks, on),
        baseline=head.baseline,
        methods=methods,
        precision=head.precision,
        device=check_device(head.device),
        stop_at_target=head.stop_at_target,
        keep_weights=head.keep_weights,
        source=source,
        ablation=ablation,
        on=on,
        hypotheses=hypotheses(tables_of(raw, "hypotheses"), methods, head.baseline, head.target_on),
        sweeps=_sweeps(raw, head, methods, on),
        plugins=loaded,
    )


def _plugins(table: dict[str, Any], source: str) -> list[str]:
    """Loads the plugin files that the study names, before any part of it is looked up."""
    files = hyperparameters.build_part(_PluginsTable, table, "plugins").files
    for index, file in enumerate(files):
        checked(file, str, None, f"plugins.files[{index}]")
    home = Path(source).parent  # of a shipped study, which has none, the working folder
    paths = [home / os.path.expanduser(file) for file in files]
    return [str(load_plugin(path, f"plugins.files[{index}]")) for index, path in enumerate(paths)]


def _sweeps(
    raw: Mapping[str, Any], head: Any, methods: Mapping[str, Method], on: Mapping[str, OnTask]
) -> tuple[Sweep, ...]:
    if "sweep" not in raw:
        return ()
    compared = {task: part.seeds for task, part in on.items()}
    of_study = head.primary, compared, head.stop_at_target, head.target_on
    return sweeps_of(table_of(raw, "sweep"), methods, list(on), *of_study)


def _ablated(
    methods: dict[str, Method], raw: Mapping[str, Any], baseline: str
) -> tuple[dict[str, Method], Ablation | None]:
    """The methods and those that an `[ablation]` table adds, the added ones first."""
    if "ablation" not in raw:
        return methods, None
    table = hyperparameters.build_part(AblationTable, table_of(raw, "ablation"), "ablation")
    added, ablation = expand(table, methods)
    base = ablation.end if table.design == "leave-one-out" else ablation.start
    if baseline != base:
        raise ConfigError(
            f"study.baseline: must be {base}, the starting method of the {table.design} ablation, but got "
            f"{quoted(baseline)}."
        )
    return {**added, **{name: method for name, method in methods.items() if name not in added}}, ablation


def _check_comparable(methods: Mapping[str, Method], primary: str) -> None:
    baselines = [name for name, method in methods.items() if method.optimizer is not None]
    if baselines and primary == "products_to_target":
        raise ConfigError(
            f"study.primary: must be a cost that all methods have, but {listed(baselines)} "
            "need no Gauss-Newton products; take work_to_target or seconds_to_target."
        )


def _tasks(names: list[Any], tables: Mapping[str, dict[str, Any]]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The tasks named, registered ones or variants that the file derives. All variants are checked, used or not."""
    variants = {name: part_of("task", {"use": name, **table}, f"tasks.{name}") for name, table in tables.items()}
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"study.tasks: must be a list of names, but got {quoted(name)} in it.")
    chosen = distinct(names, "study.tasks")
    return {name: variants.get(name) or part_of("task", name, "study.tasks") for name in chosen}


def _looks(given: list[Any], on: Mapping[str, OnTask]) -> tuple[int, ...]:
    looks = tuple(checked(look, int, Within("[1, inf)"), f"study.looks[{index}]") for index, look in enumerate(given))
    if list(looks) != sorted(set(looks)):
        raise ConfigError(f"study.looks: must be increasing numbers of seeds such as [7, 10, 20], but got {given}.")
    for task, on_task in on.items():
        if looks and looks[-1] != len(on_task.seeds):
            raise ConfigError(
                f"study.looks: the last look must be at all the seeds, {len(on_task.seeds)} on {task}, "
                f"but got {looks[-1]}."
            )
    return looks


def _targets(given: dict[str, Any], defaults: dict[str, float]) -> dict[str, float]:
    for name in given:
        check_known(name, defaults, f"study.targets.{name}", "task")
    positive = Within("(0, inf)")
    return {
        name: checked(given.get(name, default), float, positive, f"study.targets.{name}")
        for name, default in defaults.items()
    }


# ---------------------------------------------------------------- seeds, methods kept


def _seeds_of_every_task(raw: Mapping[str, Any]) -> tuple[int, ...]:
    """The file's `study.seeds`; empty where a task has seeds of its own, or where they are not valid."""
    with suppress(ConfigError):
        if not any("seeds" in table for table in tables_of(raw, "on").values()):
            return seeds_of(table_of(raw, "study").get("seeds"), SEEDS)
    return ()


def _option_seeds(given: int | str) -> tuple[int, ...]:
    """Seeds from "7" (a count), "3,5,8" or "10-19"; the latter two may be mixed."""
    where = "--seeds"
    text = str(given).replace(" ", "")
    if re.fullmatch(r"-?\d{1,18}", text):
        return seeds_of(int(text), where)
    ranges = [re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", piece) for piece in text.split(",")]
    ends = [(int(match[1]), int(match[2] or match[1])) for match in ranges if match]
    if len(ends) < len(ranges) or any(not 0 <= last - first < 10000 for first, last in ends):
        raise ConfigError(f"{where}: must be a count (7), a list (3,5,8) or a range (10-19), but got {quoted(given)}.")
    return tuple(distinct([seed for first, last in ends for seed in range(first, last + 1)], where))


def _keep(study: Study, only: Sequence[str]) -> Study:
    for name in only:
        check_known(name, study.methods, "--only", "method")
    wanted = {*only, study.baseline}
    wanted |= {followed for name in wanted if (followed := study.methods[name].batches_of)}
    kept = {name: method for name, method in study.methods.items() if name in wanted}
    whole = study.ablation is not None and set(study.ablation.levels) <= set(kept)
    on = {
        task: dataclasses.replace(
            part,
            methods=tuple(name for name in part.methods if name in kept),
            settings={name: method for name, method in part.settings.items() if name in kept},
        )
        for task, part in study.on.items()
    }
    answerable = tuple(
        hypothesis for hypothesis in study.hypotheses if {hypothesis.method, hypothesis.against} <= set(kept)
    )
    ablation = study.ablation if whole else None
    named = tuple(name for name in kept if name != study.baseline) or (study.baseline,)
    variant = study.variant if len(kept) == len(study.methods) else dataclasses.replace(study.variant, only=named)
    return dataclasses.replace(study, methods=kept, ablation=ablation, on=on, hypotheses=answerable, variant=variant)
