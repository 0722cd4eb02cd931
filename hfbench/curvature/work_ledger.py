"""Work ledger: counts every case pushed through the network, so that methods are compared on one axis.

One unit of work is one forward pass of one case. The other passes have the units of their matrix products. In a chain
of dense layers that is one product per layer for a forward pass, and by convention, which takes the first layer as any
other: backward 2, J·v 2, Jᵀ·u 2, per-case squared gradients 2 (one product for the deltas, one for their squares),
per-case gradient norms 1 (the deltas alone), deltas 1. The passes of any other network have units of their own
(`hfbench.curvature.pass_units`), and there is one pass more: the transpose u ↦ Jᵀu that is recorded before J·v.

Matrix algebra that is no pass is counted where it is of that order: a Kronecker-factored preconditioner's, in units of
the multiplications of a forward pass, C = Σ_layers T·p·q for layers p × q at T places per case:
    factors of n cases           n Σ T(p² + q²) / C                l lᵀ and r rᵀ summed; p² once per probe
    eigendecompositions          4.5 Σ (p³ + q³) / C               9 m³ operations: Golub and Van Loan (2013), 8.3
    inverses made of them        Σ (p³ + q³) / C
    M⁻¹v by inverses, or E⁻¹v    Σ pq(p + q) / C
    M⁻¹v by eigenvectors         2 Σ pq(p + q) / C
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

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
    """Cases counted per kind of pass, the work they are, and how often J and Jᵀ were applied inside the inner solves.

    `units` are those of the network whose passes are counted, by kind; a linearisation sets them.
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
        """Adds one pass of `kind` over `cases` cases; what has no units, such as calls, is no work."""
        setattr(self, kind, getattr(self, kind) + cases)
        self.work += self.units.get(kind, 0) * cases

    @property
    def products(self) -> float:
        """Gauss-Newton products: one J·v and one Jᵀ·u make one."""
        return (self.jvp_calls + self.vjp_calls) / 2

    def state_dict(self) -> dict[str, float]:
        """All that was counted."""
        return {name: getattr(self, name) for name in _counted()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Older states have fewer kinds, and those without `work` were counted by `UNITS`."""
        for name in _counted():
            setattr(self, name, state.get(name, 0))
        if "work" not in state:
            self.work = sum(units * getattr(self, kind) for kind, units in UNITS.items())

    def since(self, state: Mapping[str, float]) -> dict[str, float]:
        """What was counted after that state."""
        return {name: count - state[name] for name, count in self.state_dict().items()}

    def add(self, counted: Mapping[str, float]) -> None:
        """Counts once more what `since` gave."""
        for name, count in counted.items():
            setattr(self, name, getattr(self, name) + count)


def _counted() -> list[str]:
    return [entry.name for entry in fields(Ledger) if entry.name != "units"]
