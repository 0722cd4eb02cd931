"""Run specification: task × method × seed × budget, and the key of its record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hfbench.config.source_hash import _core_source, _named_source, _part_source
from hfbench.parts import registry
from hfbench.parts.protocols import FollowsLength, NamesClasses

if TYPE_CHECKING:
    from hfbench.config.methods import Method

# Settings that a configuration, and so the key, tells only where they are others: earlier runs do not know them.
ADDED: Mapping[str, Any] = {"target_on": "test", "evaluate_every": 1}


@dataclass(frozen=True)
class RunSpec:
    """Resolved settings that determine the numbers of a run."""

    task: str
    task_settings: Mapping[str, Any]  # {"use": name, **settings}
    method: Method
    seed: int
    budget: Mapping[str, float]  # among passes, seconds, products, iterations; see `Study.budget`
    target: float
    precision: str = "float32"
    device: str = "cpu"
    stop_at_target: bool = True
    files: Mapping[str, str] = field(default_factory=dict)  # checksums of the optional data files that were found
    follows: str = ""  # key of the run whose recorded batches are replayed
    target_on: str = "test"  # or "validation": the cases whose error is held against the target
    evaluate_every: int = 1  # steps from one evaluation of the errors to the next

    @property
    def name(self) -> str:
        """`method/task/s<seed>`, as in the tracking store and on the screen."""
        return f"{self.method.name}/{self.task}/s{self.seed}"

    @property
    def target_column(self) -> str:
        """The column of the trace that is held against the target."""
        return f"{self.target_on}_error"

    def parts(self) -> list[tuple[str, dict[str, Any]]]:
        """Every part used, as (family, its settings)."""
        return [("task", dict(self.task_settings)), *self.method.parts()]

    def used(self) -> list[tuple[str, str]]:
        """Every part used, as (family, its name)."""
        return [(family, settings["use"]) for family, settings in self.parts()]

    def follows_length(self) -> bool:
        """True if the budget decides more than where the run ends, as for a schedule of the learning rate."""
        built = [registry.build(*part) for part in self.method.parts() if part[0] == "optimizer"]
        return any(part.follows_length for part in built if isinstance(part, FollowsLength))

    def named_classes(self) -> list[type]:
        """Classes that settings of the parts name."""
        built = [
            registry.build(*part)
            for part in self.parts()
            if issubclass(registry.get(part[0], part[1]["use"]), NamesClasses)
        ]
        return [cls for part in built for cls in part.named_classes()]

    def config(self) -> dict[str, Any]:
        """The resolved configuration as plain data."""
        return dict(json.loads(self._text))  # tuples become lists, as when read back

    @cached_property
    def _text(self) -> str:
        told = {name: value for name, value in _shallow(self).items() if (name, value) not in ADDED.items()}
        return json.dumps(told, default=_shallow)  # unlike `asdict`, without a copy of every value

    def key(self) -> str:
        """16 hexadecimal digits of the sha256 of the configuration and of the source of the numerics and parts."""
        digest = hashlib.sha256(json.dumps(self.config(), sort_keys=True).encode())
        digest.update(_core_source())
        for family, name in self.used():
            part: Any = registry.get(family, name)
            digest.update(_part_source(part))
        for cls in self.named_classes():
            digest.update(_named_source(cls))
        return digest.hexdigest()[:16]


def _shallow(value: Any) -> dict[str, Any]:
    """The fields of a dataclass. Raises TypeError for anything else, as JSON does."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
