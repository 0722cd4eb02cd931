from __future__ import annotations

import pytest

from hfbench.config.methods import resolve
from hfbench.config.usual_ranges import usual_paths
from hfbench.parts import registry


@pytest.mark.parametrize("name", sorted(set(registry.names("optimizer")) - {"torch"}))
def test_every_shipped_baseline_has_usual_settings(name: str) -> None:
    method = resolve("own", {"optimizer": name, "scheduler": "fixed"})
    paths = usual_paths(method)
    assert "optimizer.lr" in paths
    assert all(path.removeprefix("optimizer.") in (method.optimizer or {}) for path in paths)


def test_rates_of_both_classes_of_a_torch_baseline_are_among_them() -> None:
    rest = {"class": "torch.optim.AdamW", "settings": {"lr": 1e-3}}
    optimizer = {"use": "torch", "class": "torch.optim.SGD", "settings": {"lr": 0.1, "momentum": 0.9}, "rest": rest}
    paths = usual_paths(resolve("own", {"optimizer": optimizer, "scheduler": "fixed"}))
    assert paths[:2] == ["optimizer.settings.lr", "optimizer.rest.settings.lr"]


def test_a_method_with_other_rules_has_its_damping_alone() -> None:
    table = {"solver": "cg", "preconditioner": "identity", "scheduler": "fixed", "rules": ["residual"]}
    assert usual_paths(resolve("own", table)) == ["globalization.initial_damping"]


def test_a_torch_baseline_without_a_rate_has_the_rest() -> None:
    optimizer = {"use": "torch", "class": "torch.optim.Adam"}
    paths = usual_paths(resolve("own", {"optimizer": optimizer, "scheduler": "fixed"}))
    assert paths == ["optimizer.minibatch", "optimizer.schedule", "optimizer.span"]
