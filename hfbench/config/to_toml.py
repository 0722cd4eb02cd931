"""Study as a file, with every default spelled out, so that its meaning does not change with the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hfbench.config.methods import HESSIAN_FREE, Method
from hfbench.config.study import OnTask, Study

PLAIN = (
    "name", "question", "notes", "seeds", "budget", "primary", "targets", "target_on", "margin", "alpha", "baseline",
    "precision", "stop_at_target",
)  # fmt: skip


def toml(study: Study, folder: Path) -> str:
    """The TOML that `load_study` reads, in that folder, as the same study, without a sweep and an ablation's design.

    Plugin files are named from the folder, so that a project may be moved as a whole.
    """
    import tomli_w

    head = {name: getattr(study, name) for name in PLAIN} | {"tasks": list(study.tasks)}
    head |= {name: value for name, value, default in _of_late(study) if value != default}
    tables: dict[str, Any] = {
        "study": head,
        "tasks": study.tasks,
        "methods": {name: _method(method) for name, method in study.methods.items()},
        "on": {task: _on_task(on_task) for task, on_task in study.on.items()},
        "hypotheses": {
            hypothesis.name: {key: value for key, value in asdict(hypothesis).items() if key != "name"}
            for hypothesis in study.hypotheses
        },
    }
    if study.plugins:
        tables["plugins"] = {"files": [_from(folder, file) for file in study.plugins]}
    return tomli_w.dumps(_given(tables))


def _from(folder: Path, file: str) -> str:
    """A file's path from a folder; `..` leaves the folder that links lead to, so they are followed first."""
    return Path(os.path.relpath(os.path.realpath(file), os.path.realpath(folder))).as_posix()


def _of_late(study: Study) -> list[tuple[str, Any, Any]]:
    """Newer settings, written only if they differ from their defaults, since older versions do not know them."""
    return [
        ("device", study.device, "cpu"),
        ("test", study.test, "wilcoxon"),
        ("looks", list(study.looks), []),
        ("keep_weights", study.keep_weights, False),
    ]


def _on_task(on_task: OnTask) -> dict[str, Any]:
    own = {name: _method(method) for name, method in on_task.settings.items()}
    plain = {"methods": on_task.methods, "seeds": on_task.seeds, "budget": on_task.budget}
    late = {"evaluate_every": on_task.evaluate_every}  # of version 0.2, and left out where it is not given
    return {**plain, **late, **({"settings": own} if own else {})}


def _method(method: Method) -> dict[str, Any]:
    beside = {"name", *(HESSIAN_FREE if method.optimizer is not None else ())}
    return {key: value for key, value in asdict(method).items() if key not in beside}


def _given(value: Any) -> Any:
    """The table without keys whose value is None, which TOML cannot express."""
    if isinstance(value, Mapping):
        return {key: _given(entry) for key, entry in value.items() if entry is not None}
    return [_given(entry) for entry in value] if isinstance(value, list | tuple) else value
