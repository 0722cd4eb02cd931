"""MLflow params of a study and of its runs: few columns, none of them empty talk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hfbench.config.methods import HESSIAN_FREE
from hfbench.config.run_spec import ADDED, RunSpec
from hfbench.config.study import Study
from hfbench.hessian_free.globalization import Globalization
from hfbench.parts import registry
from hfbench.parts.hyperparameters import hyperparameters

KNOWN_BY = (
    "method", "optimizer", "solver", "preconditioner", "scheduler", "batches_of", "rules", "right_hand_side",
    "max_inner", "task", "seed", "target", "precision", "device",
)  # fmt: skip


def study_params(study: Study, specs: Iterable[RunSpec]) -> dict[str, str]:
    """What the parent run of a study shows: the question, and everything fixed beforehand to answer it."""
    budgets = {spec.task: " or ".join(f"{limit:g} {unit}" for unit, limit in spec.budget.items()) for spec in specs}
    plain = ("question", "primary", "margin", "alpha", "baseline", "precision", "stop_at_target")
    return {name: text(getattr(study, name)) for name in plain} | {
        "tasks": ", ".join(study.tasks),
        "seeds": ", ".join(map(str, study.seeds)),
        "budget": _by_task(budgets),
        "targets": _by_task({task: text(study.targets[task]) for task in study.tasks}),
        **{name: text(value) for name, value in _added(study) if value},
        "methods": ", ".join(study.methods),
        **({"looks": text(list(study.looks))} if study.looks else {}),
        **({"test": study.test} if study.test != "wilcoxon" else {}),
        **_unless_cpu(study.device),
    }


def _added(study: Study) -> Iterable[tuple[str, Any]]:
    """Settings that older records do not have, where they are others than theirs."""
    yield "target_on", study.target_on if study.target_on != "test" else ""
    every = {task: str(on_task.evaluate_every) for task, on_task in study.on.items() if on_task.evaluate_every}
    yield "evaluate_every", _by_task(every)


def _unless_cpu(device: str) -> dict[str, str]:
    """That runs are on the CPU says nothing, and older records do not."""
    return {} if device == "cpu" else {"device": device}


def _by_task(values: Mapping[str, str]) -> str:
    return "; ".join(f"{task}: {value}" for task, value in values.items())


def flat_params(config: Mapping[str, Any]) -> dict[str, str]:
    """A run's configuration as params: `solver`, `solver.<setting>`, …, `task`, `seed`, `budget.<kind>`."""
    method = _own(config["method"])
    if "precision" in method:  # of the products; a run's `precision` is that of weights and data
        method["product_precision"] = method.pop("precision")
    flat = {"method": method.pop("name"), **_flatten("", method)}
    settings = dict(config["task_settings"])
    flat |= {"task": config["task"], "task.use": settings.pop("use"), **_flatten("task", settings)}
    flat |= _flatten("budget", config["budget"])
    rest = ("seed", "target", "precision", "stop_at_target", *ADDED)
    flat |= {name: config[name] for name in rest if name in config} | _unless_cpu(config.get("device", "cpu"))
    return {name: text(value) for name, value in flat.items()}


def _own(method: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a method has: a baseline has none of the Hessian-free ones."""
    beside = HESSIAN_FREE if method["optimizer"] is not None else ()
    return {name: value for name, value in method.items() if value is not None and name not in beside}


def columns(configs: Iterable[Mapping[str, Any]]) -> set[str]:
    """The params worth a column: what every run is known by, what differs between runs, what is not its default.

    A default that only one method's part has says nothing.
    """
    configs = list(configs)
    flats = [flat_params(config) for config in configs]
    names = {name for flat in flats for name in flat}
    differing = {name for name in names if len({flat[name] for flat in flats if name in flat}) > 1}
    chosen = {name for config in configs for name in _not_default(config)}
    budgets = {name for name in names if name.startswith("budget.")}
    return differing | chosen | budgets | (set(KNOWN_BY) & names)


def _not_default(config: Mapping[str, Any]) -> set[str]:
    """The params whose value is not the default that their part declares."""
    method = dict(config["method"])
    families = ("optimizer", "solver", "preconditioner", "scheduler")
    method |= {family: _default(family, method[family]) for family in families if method[family] is not None}
    method["rules"] = [_default("rule", rule) for rule in config["method"]["rules"]]
    method["globalization"] = _defaults(Globalization)
    default = flat_params({**config, "method": method, "task_settings": _default("task", config["task_settings"])})
    return {name for name, value in flat_params(config).items() if default.get(name) != value}


def _default(family: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"use": settings["use"], **_defaults(registry.get(family, settings["use"]))}


def _defaults(part: type) -> dict[str, Any]:
    return {
        hyperparameter.name: hyperparameter.default
        for hyperparameter in hyperparameters(part)
        if not hyperparameter.required
    }


def _flatten(prefix: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        settings = dict(value)
        flat = {prefix: settings.pop("use")} if "use" in settings else {}
        for name, entry in settings.items():
            flat |= _flatten(f"{prefix}.{name}" if prefix else name, entry)
        return flat
    if isinstance(value, list | tuple) and any(isinstance(entry, Mapping) for entry in value):
        names = [str(entry.get("use")) for entry in value]
        parts = zip(names, value, strict=True)
        return {prefix: "+".join(names)} | {
            f"{prefix}.{name}.{key}": setting for name, entry in parts for key, setting in entry.items() if key != "use"
        }
    return {prefix: value}


def text(value: Any) -> str:
    """One spelling for one value: floats to six digits, tuples as the lists they are once read from a file."""
    if isinstance(value, float):
        return f"{value:g}"
    return str(list(value) if isinstance(value, tuple) else value)
