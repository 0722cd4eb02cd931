"""Study files: TOML read into checked, frozen settings in which every default is spelled out.

What a part accepts is read from the part itself; a message names the file, the key path, what was given, what is
allowed and the nearest known name.
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from hfbench import space
from hfbench.ablation import Ablation, AblationTable, expand
from hfbench.errors import ConfigError, HfbenchError, UnknownPartError
from hfbench.methods import Method, check_followed, part_of, resolve
from hfbench.space import Choice, Hyperparameter, Within, did_you_mean, part, settings_of

PRIMARIES = ("work_to_target", "products_to_target", "seconds_to_target", "distinct_to_target")

Positive = Annotated[float | None, Within("(0, inf)")]


@dataclass(frozen=True)
class Study:
    """What is compared on what, how often, at which cost, and by which margin: all of it fixed beforehand.

    The budget is looked at after each outer iteration, so that a run may overshoot it by one. A target met beyond it
    counts as not reached, and a run that did not reach the target enters the statistics at the budget, where that
    limits the cost compared, not at what it spent.
    """

    name: str
    question: str
    tasks: dict[str, dict[str, Any]]  # {"use": name, **settings} by the task's name in the study
    seeds: tuple[int, ...]
    budget: dict[str, float]  # among passes, seconds, products, iterations; empty: each task's own
    primary: str
    targets: dict[str, float]  # test error per task
    margin: float  # > 1, on the ratio of costs
    alpha: float
    baseline: str
    methods: dict[str, Method]
    precision: str  # "float32" or "float64"
    stop_at_target: bool
    source: str  # path of the file, or "shipped"
    ablation: Ablation | None = None


# ---------------------------------------------------------------- the tables of a file, as written


@part
class _StudyTable:
    name: Annotated[str, "name of the study"]
    question: Annotated[str, "what the study asks"] = ""
    tasks: Annotated[list[str], "names of tasks"]
    seeds: Annotated[int | list[int], "how many seeds, or a list of them"]
    budget: Annotated[dict[str, float], "where a run ends, whichever limit is met first"] = field(default_factory=dict)
    primary: Annotated[str, Choice(*PRIMARIES), "the cost that is compared"] = "work_to_target"
    targets: Annotated[dict[str, float], "test error that ends a run, by task"] = field(default_factory=dict)
    margin: Annotated[float, Within("(1, inf)"), "ratios within it count as equivalent"] = 1.10
    alpha: Annotated[float, Within("(0, 1)"), "level of the tests"] = 0.05
    baseline: Annotated[str, "the method the others are compared with"]
    precision: Annotated[str, Choice("float32", "float64"), "of weights and data"] = "float32"
    stop_at_target: Annotated[bool, "whether reaching the target ends a run"] = True


@part
class _BudgetTable:
    passes: Positive = None
    seconds: Positive = None
    products: Positive = None
    iterations: Positive = None


# ---------------------------------------------------------------- loading


def load_study(
    name_or_path: str,
    overrides: Sequence[str] = (),
    seeds: int | str | None = None,
    only: Sequence[str] = (),
) -> Study:
    """The checked study of a shipped name or a file.

    `overrides` are `key.path=value` with a TOML value, bare words being strings; `seeds` replaces the file's: a count,
    "3,5,8" or "10-19"; `only` keeps these methods and the baseline.
    Raises ConfigError or UnknownPartError with one message for whatever is wrong: it names the key, and says whether
    it is the file's or an override's.
    """
    raw, source, label = _read(name_or_path)
    with _blaming(label, [assignment.partition("=")[0].strip() for assignment in overrides]):
        for assignment in overrides:
            _override(raw, assignment)
        study = _study(raw, source)
    if seeds is not None:
        study = dataclasses.replace(study, seeds=_option_seeds(seeds))
    return _keep(study, only) if only else study


def shipped_studies() -> dict[str, str]:
    """The question of every shipped study, by name."""
    files = [file for file in resources.files("hfbench.studies").iterdir() if file.name.endswith(".toml")]
    tables = {file.name.removesuffix(".toml"): tomllib.loads(file.read_text("utf-8")) for file in files}
    return {name: tables[name]["study"]["question"] for name in sorted(tables)}


def to_dict(study: Study) -> dict[str, Any]:
    """The study as plain data that JSON keeps unchanged."""
    plain: dict[str, Any] = _plain(dataclasses.asdict(study))
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _read(name_or_path: str) -> tuple[dict[str, Any], str, str]:
    """The raw tables, the source to record, and the label messages begin with."""
    path = Path(name_or_path)
    if path.suffix == ".toml" or os.sep in name_or_path:
        source = label = name_or_path
        read: Callable[[], bytes] = path.read_bytes
    else:
        known = shipped_studies()
        if name_or_path not in known:
            raise UnknownPartError(
                f"no study {name_or_path!r}{did_you_mean(name_or_path, known)}; shipped: {', '.join(known)}. "
                "For a file of your own, give its path ending in .toml."
            )
        source, label = "shipped", f"{name_or_path}.toml"
        read = (resources.files("hfbench.studies") / label).read_bytes
    try:
        return tomllib.loads(read().decode("utf-8")), source, label
    except OSError as error:
        raise ConfigError(f"{label}: the study file cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{label}: must be TOML in UTF-8: {error}.") from error


# ---------------------------------------------------------------- checks


def _study(raw: Mapping[str, Any], source: str) -> Study:
    known = ("study", "tasks", "methods", "ablation")
    for key in raw:
        if key not in known:
            raise ConfigError(f"{key}: unknown key{did_you_mean(key, known)}; known: {', '.join(known)}.")
    head = space.build(_StudyTable, _table(raw, "study"), "study")
    _check_name(head.name, "study.name")
    methods = {name: resolve(name, table) for name, table in _tables(raw, "methods").items()}
    if not methods:
        raise ConfigError("methods: there must be at least one table such as [methods.hf].")
    _check_known(head.baseline, methods, "study.baseline", "method")
    methods, ablation = _ablated(methods, raw, head.baseline)
    check_followed(methods)
    _check_comparable(methods, head.primary)
    tasks = _tasks(head.tasks, _tables(raw, "tasks"))
    return Study(
        name=head.name,
        question=head.question,
        tasks={name: settings for name, (_, settings) in tasks.items()},
        seeds=_file_seeds(head.seeds),
        budget=_budget(head.budget),
        primary=head.primary,
        targets=_targets(head.targets, {name: task.target for name, (task, _) in tasks.items()}),
        margin=head.margin,
        alpha=head.alpha,
        baseline=head.baseline,
        methods=methods,
        precision=head.precision,
        stop_at_target=head.stop_at_target,
        source=source,
        ablation=ablation,
    )


def _ablated(
    methods: dict[str, Method], raw: Mapping[str, Any], baseline: str
) -> tuple[dict[str, Method], Ablation | None]:
    """The methods with those an `[ablation]` table adds; the others keep their places after them."""
    if "ablation" not in raw:
        return methods, None
    written = dict(_table(raw, "ablation"))
    if "from" not in written:
        raise ConfigError("ablation.from: must be given (the method to begin with).")
    table = space.build(AblationTable, {"from_": written.pop("from"), **written}, "ablation")
    added, ablation = expand(table, methods)
    base = ablation.end if table.design == "leave-one-out" else ablation.start
    if baseline != base:
        raise ConfigError(
            f"study.baseline: must be {base}, where the {table.design} ablation begins, but got {baseline!r}."
        )
    return {**added, **{name: method for name, method in methods.items() if name not in added}}, ablation


def _check_comparable(methods: Mapping[str, Method], primary: str) -> None:
    baselines = [name for name, method in methods.items() if method.optimizer is not None]
    if baselines and primary == "products_to_target":
        raise ConfigError(
            f"study.primary: must be a cost that all methods have, but {', '.join(baselines)} "
            "need no Gauss-Newton products; take work_to_target or seconds_to_target."
        )


def _table(raw: Mapping[str, Any], key: str, path: str = "") -> dict[str, Any]:
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{path}{key}: must be a table, but got {value!r}.")
    return value


def _tables(raw: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    table = _table(raw, key)
    for name in table:
        _check_name(name, f"{key}.{name}")
    return {name: _table(table, name, f"{key}.") for name in table}


def _check_name(name: str, where: str) -> None:
    # Names become columns, tags and parts of file names.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise ConfigError(f"{where}: a name must be 1 to 64 letters, digits, - or _, but got {name!r}.")


def _check_known(name: str, known: Iterable[str], where: str, kind: str) -> None:
    known = list(known)
    if name not in known:
        given = f"{name!r}{did_you_mean(name, known)}"
        raise ConfigError(f"{where}: must name a {kind} of the study, but got {given}; known: {', '.join(known)}.")


def _distinct(values: list[Any], where: str) -> list[Any]:
    if not values:
        raise ConfigError(f"{where}: must not be empty.")
    value, times = Counter(values).most_common(1)[0]
    if times > 1:
        raise ConfigError(f"{where}: must not repeat a value, but {value!r} is there {times} times.")
    return values


def _tasks(names: list[Any], tables: Mapping[str, dict[str, Any]]) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The tasks named, registered ones or variants that the file derives; all variants are checked, named or not."""
    variants = {name: part_of("task", {"use": name, **table}, f"tasks.{name}") for name, table in tables.items()}
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"study.tasks: must be a list of names, but got {name!r} in it.")
    chosen = _distinct(names, "study.tasks")
    return {name: variants.get(name) or part_of("task", name, "study.tasks") for name in chosen}


def _budget(given: dict[str, Any]) -> dict[str, float]:
    limits = settings_of(space.build(_BudgetTable, given, "study.budget"))
    return {key: limit for key, limit in limits.items() if limit is not None}


def _targets(given: dict[str, Any], defaults: dict[str, float]) -> dict[str, float]:
    for name in given:
        _check_known(name, defaults, f"study.targets.{name}", "task")
    positive = Within("(0, inf)")
    return {
        name: _checked(given.get(name, default), float, positive, f"study.targets.{name}")
        for name, default in defaults.items()
    }


def _checked(value: Any, kind: type, within: Within, where: str) -> Any:
    return space.check(Hyperparameter("", kind, MISSING, None, within, ""), value, where)


# ---------------------------------------------------------------- seeds, methods kept


def _file_seeds(given: Any, where: str = "study.seeds") -> tuple[int, ...]:
    """0 … n-1 for a count n, or the seeds of a list."""
    if not isinstance(given, list):
        return tuple(range(_checked(given, int, Within("[1, 10000]"), where)))
    natural = Within("[0, inf)")
    return tuple(_distinct([_checked(seed, int, natural, f"{where}[{i}]") for i, seed in enumerate(given)], where))


def _option_seeds(given: int | str) -> tuple[int, ...]:
    """Seeds from "7" (a count), "3,5,8" or "10-19"; the latter two may be mixed."""
    where = "--seeds"
    text = str(given).replace(" ", "")
    if re.fullmatch(r"-?\d{1,18}", text):
        return _file_seeds(int(text), where)
    ranges = [re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", one) for one in text.split(",")]
    ends = [(int(one[1]), int(one[2] or one[1])) for one in ranges if one]
    if len(ends) < len(ranges) or any(not 0 <= last - first < 10000 for first, last in ends):
        raise ConfigError(f"{where}: must be a count (7), a list (3,5,8) or a range (10-19), but got {given!r}.")
    return tuple(_distinct([seed for first, last in ends for seed in range(first, last + 1)], where))


def _keep(study: Study, only: Sequence[str]) -> Study:
    for name in only:
        _check_known(name, study.methods, "--only", "method")
    wanted = {*only, study.baseline}
    wanted |= {followed for name in wanted if (followed := study.methods[name].batches_of)}
    kept = {name: method for name, method in study.methods.items() if name in wanted}
    whole = study.ablation is not None and set(study.ablation.levels) <= set(kept)
    return dataclasses.replace(study, methods=kept, ablation=study.ablation if whole else None)


# ---------------------------------------------------------------- overrides


@contextmanager
def _blaming(label: str, overridden: Sequence[str]) -> Iterator[None]:
    """Messages begin with a key path: says of the key that it came from `--set`, or else which file it is in."""
    try:
        yield
    except HfbenchError as error:
        key, _, problem = str(error).partition(": ")
        if any(_within(key, path) or _within(path, key) for path in overridden):
            message = f"{key} (from --set): {problem}"
        elif key == "--set":
            message = str(error)
        else:
            # Another `use` may be what makes a setting of the file unknown.
            switched = next((path for path in overridden if _within(key, path.removesuffix(".use"))), None)
            message = f"{label}{f' with --set {switched}' if switched else ''}: {error}"
        raise type(error)(message) from error.__cause__


def _within(key: str, path: str) -> bool:
    """Whether the key is the one at `path` or below it."""
    return re.match(rf"{re.escape(path)}($|[.\[])", key) is not None


def _override(raw: dict[str, Any], assignment: str) -> None:
    """Sets one value in the raw tables; whether key and value are allowed is checked with the rest."""
    path, equals, text = assignment.partition("=")
    keys = [key.strip() for key in path.split(".")]
    if not equals or not all(keys):
        raise ConfigError(f"--set: must be key.path=value, such as methods.hf.solver=lsmr, but got {assignment!r}.")
    path = ".".join(keys)
    if keys[0] == "methods" and len(keys) > 2:
        _check_known(keys[1], _table(raw, "methods"), path, "method")
    table = raw
    for depth, key in enumerate(keys[:-1], start=1):
        below = table.setdefault(key, {})
        if isinstance(below, str):  # a part given by its name alone
            below = table[key] = {"use": below}
        if not isinstance(below, dict):
            raise ConfigError(f"{path}: {'.'.join(keys[:depth])} must be a table, but is {below!r}.")
        table = below
    table[keys[-1]] = _value(text.strip())


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text
