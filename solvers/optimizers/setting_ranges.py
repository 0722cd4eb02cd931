"""Search ranges of keyword arguments that optimiser classes have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hfbench.parts import Linear, Log
from hfbench.parts.hyperparameters import Search

RANGES: dict[str, Search] = {
    "lr": Log(1e-5, 1e-1),
    "weight_decay": Log(1e-6, 1e-1),
    "momentum": Linear(0.0, 0.99),
    "eps": Log(1e-10, 1e-4),
}
# Of classes whose updates are not of the size of the learning rate.
RATES: dict[str, Search] = {
    "SGD": Log(1e-4, 1.0),
    "ASGD": Log(1e-4, 1.0),
    "Adagrad": Log(1e-4, 1.0),
    "Adadelta": Log(1e-2, 10.0),
    "LBFGS": Log(1e-2, 1.0),
    "Muon": Log(1e-4, 1e-1),
    "AdaHessian": Log(1e-3, 1.0),
}


def ranges_of(cls: type, settings: Mapping[str, Any]) -> Iterator[tuple[str, Search]]:
    """The range of each setting that has one."""
    known = RANGES | {"lr": RATES.get(cls.__name__, RANGES["lr"])}
    return ((name, known[name]) for name in settings if name in known)
