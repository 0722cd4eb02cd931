"""Every part that hfbench brings along keeps the contract of its family."""

from __future__ import annotations

import pytest

from hfbench import registry
from hfbench.commands.check import BROKEN, SKIPPED, outcomes_of
from hfbench.parts.hyperparameters import hyperparameters


def of_its_own() -> list[object]:
    """Families and names; tasks that read files carry the marker `data`."""
    found = []
    for family in registry.FAMILIES:
        for name in registry.names(family):
            if any(declared.required for declared in hyperparameters(registry.get(family, name))):
                continue  # it is among those with other settings
            reads = family == "task" and any(not file.optional for file in registry.get(family, name).files)
            marks = [pytest.mark.data] if reads else []
            found.append(pytest.param(family, name, id=f"{family}-{name}", marks=marks))
    return found


@pytest.mark.parametrize(("family", "name"), of_its_own())
def test_a_part_of_hfbench_keeps_its_contract(family: str, name: str) -> None:
    found = list(outcomes_of(family, name))
    assert [one for one in found if one.result == BROKEN] == []
    most = 2 if name == "dual" else 1  # it takes the least-squares form, and no preconditioner
    assert sum(one.result == SKIPPED for one in found) <= most


@pytest.mark.parametrize(
    ("family", "name", "settings"),
    [
        ("preconditioner", "martens", {"exponent": 1.0}),
        ("preconditioner", "chapelle-erhan", {"exponent": 0.5}),
        ("preconditioner", "kfac", {"damping": "exact", "probes": 2}),
        ("preconditioner", "kfac", {"refresh": 2, "memory": 0.9}),
        ("scheduler", "fixed", {"gradient": 500.0, "curvature": 20.0, "order": "random"}),
        ("scheduler", "dynamic", {"start": 1.0, "correction": False, "window": 1, "tolerance": 0.0}),
        ("scheduler", "dynamic", {"curvature": 0.1, "order": "cyclic", "max_growth": 1.1}),
        ("scheduler", "geometric", {"start": 3.0, "rate": 2.0}),
        ("scheduler", "inner-product", {"theta": 0.1, "nu": 0.5, "correction": False}),
        ("rule", "relative-progress", {"k_min": 1, "k_fraction": 0.5}),
        ("rule", "fixed-iterations", {"iterations": 1}),
        ("optimizer", "adam", {"lr": 1e-5, "minibatch": 5}),
        ("optimizer", "lbfgs", {"history": 3, "updates": 1}),
        ("optimizer", "adamw", {"schedule": "one-cycle", "minibatch": 7, "precision": "bfloat16"}),
        ("optimizer", "schedule-free", {"minibatch": 5, "lr": 0.01}),
        ("optimizer", "shampoo", {"minibatch": 5, "start": 1, "every": 2}),
        ("optimizer", "torch", {"class": "torch.optim.Adam"}),
        ("optimizer", "torch", {"class": "torch.optim.NAdam", "schedule": "linear", "warmup": 0.5, "minibatch": 9}),
        ("task", "addition", {"length": 20, "cases": 200, "decay_mask": "none"}),
        ("task", "curves-small", {"validation": 1, "cases": 30}),
    ],
)
def test_other_settings_than_the_defaults_keep_it_too(family: str, name: str, settings: dict[str, object]) -> None:
    part = registry.build(family, {"use": name, **settings})
    assert [one for one in outcomes_of(family, part) if one.result == BROKEN] == []
