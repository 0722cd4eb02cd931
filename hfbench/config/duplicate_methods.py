"""Methods of a study that differ in nothing but their name."""

from __future__ import annotations

import dataclasses
from collections import defaultdict

from hfbench.config.study import Study
from hfbench.messages import listed


def duplicate_methods(study: Study) -> list[str]:
    """A sentence for each group of methods with the same settings: all their runs are equal, up to the clock."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name, method in study.methods.items():
        everywhere = [method, *(study.method_on(task, name) for task in study.on)]
        groups[repr([dataclasses.replace(on_task, name="") for on_task in everywhere])].append(name)
    return [
        f"The methods {listed(names)} have the same settings, so that their runs differ in the clock alone. Give them "
        "different `stream`s to compare a method with itself."
        for names in groups.values()
        if len(names) > 1
    ]
