"""Work ledger: counts every pass of a case through the network, so that methods are compared on one axis.

One unit of work is one forward pass of one case. The units of other passes count their matrix products. In a chain of
dense layers a forward pass has one product per layer. By convention, the first layer counts like any other: backward 2,
J·v 2, Jᵀ·u 2, per-case squared gradients 2 (one product for the deltas, one for their squares), per-case gradient norms
1 (the deltas only), deltas 1. For any other network the units are measured (`hfbench.curvature.pass_units`), and there
is one more pass: the transpose u ↦ Jᵀu that is recorded before J·v.

Matrix algebra outside of passes is counted if it has the same order: that of a Kronecker-factored preconditioner, in
units of the multiplications of a forward pass, C = Σ_layers T·p·q for layers p × q at T places per case:
    factors of n cases           n Σ T(p² + q²) / C                l lᵀ and r rᵀ summed; p² once per probe
    Cholesky decompositions      Σ (p³ + q³) / 6C                  m³/3 operations: Golub and Van Loan (2013), 4.2
    inverses from them           Σ (p³ + q³) / 3C
    M⁻¹v by inverses             Σ pq(p + q) / C
    E⁻¹v by triangular solves    Σ pq(p + q) / 2C
    eigendecompositions          4.5 Σ (p³ + q³) / C               9 m³ operations: there, section 8.3
    E⁻¹v, M⁻¹v by eigenvectors   Σ pq(p + q) / C, twice that
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from hfbench.messages import quoted

UNITS = {
    "forward": 1,
    "backward": 2,
    "jvp": 2,
    "vjp": 2,
    "transpose": 2,
    "squares": 2,
    "norms": 1,
    "evaluation": 1,
    "deltas": 1,
    "algebra": 1,
}


@dataclass
class Ledger:
    """Counts of cases per kind of pass, their work, and the products with J and Jᵀ inside the inner solves.

    `units` are the network's units by kind of pass; a linearisation sets them.
    """

    forward: int = 0
    backward: int = 0
    jvp: int = 0
    vjp: int = 0
    transpose: int = 0  # recorded for J v, by networks that are no dense chain
    squares: int = 0
    norms: int = 0
    evaluation: int = 0  # loss evaluations of backtracking, line search, rho, and a scheduler's validation test
    deltas: int = 0
    algebra: int = 0  # matrix products and decompositions beside the passes, in units
    jvp_calls: int = 0
    vjp_calls: int = 0
    work: float = 0  # Σ cases × units, in forward passes of one case
    units: Mapping[str, float] = field(default_factory=lambda: UNITS, repr=False, compare=False)

    def count(self, kind: str, cases: int) -> None:
        """Adds one pass of `kind` over `cases` cases. Kinds without units, such as calls, add no work.

        Raises ValueError for a kind that there is not, and for cases below 0.
        """
        if kind not in _counted() or kind == "work" or not cases >= 0:
            kinds = ", ".join(name for name in _counted() if name != "work")
            raise ValueError(f"a pass is of kind {kinds} and has 0 cases or more, but got {quoted(kind)} and {cases}.")
        setattr(self, kind, getattr(self, kind) + cases)
        self.work += self.units.get(kind, 0) * cases

    @property
    def products(self) -> float:
        """Gauss-Newton products; one J·v and one Jᵀ·u count as one."""
        return (self.jvp_calls + self.vjp_calls) / 2

    def state_dict(self) -> dict[str, float]:
        """All counts, as plain data."""
        return {name: getattr(self, name) for name in _counted()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restores counts. Older states have fewer kinds, and those without `work` were counted by `UNITS`."""
        for name in _counted():
            setattr(self, name, state.get(name, 0))
        if "work" not in state:
            self.work = sum(units * getattr(self, kind) for kind, units in UNITS.items())

    def since(self, state: Mapping[str, float]) -> dict[str, float]:
        """Counts added after that state."""
        return {name: count - state[name] for name, count in self.state_dict().items()}

    def add(self, counted: Mapping[str, float]) -> None:
        """Adds counts that `since` returned."""
        for name, count in counted.items():
            setattr(self, name, getattr(self, name) + count)


@cache
def _counted() -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(Ledger) if entry.name != "units")


class PartsLedger:
    """A ledger as parts have it: they may read it, and count what they do beside the passes that count themselves."""

    __slots__ = ("_ledger",)

    def __init__(self, ledger: Ledger) -> None:
        object.__setattr__(self, "_ledger", ledger)

    def count(self, kind: str, cases: int) -> None:
        """As `Ledger.count`."""
        self._ledger.count(kind, cases)

    def __getattr__(self, name: str) -> Any:
        if name in (*_counted(), "products", "units", "state_dict", "since"):
            return getattr(self._ledger, name)
        raise AttributeError(f"a part's ledger has no {name!r}: it can be read, and counts by `count(kind, cases)`.")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a part cannot set {name!r} of the ledger: it counts by `count(kind, cases)`.")


def ledger_of(given: PartsLedger) -> Ledger:
    """The ledger itself, for the core."""
    ledger: Ledger = given._ledger
    return ledger
