"""Work ledger: counts every case pushed through the network, so that methods are compared on one axis.

One unit of work is one forward pass of one case. A dense layer's forward pass is one matrix product per layer; the
other passes are counted by the products they cannot avoid: backward 2, J·v 2, Jᵀ·u 2, per-case squared gradients 2
(one product for the deltas, one for their squares), per-case gradient norms 1 (the deltas alone), deltas 1.

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
from dataclasses import asdict, dataclass, fields

PASSES = {"forward": 1, "backward": 2, "jvp": 2, "vjp": 2, "squares": 2, "norms": 1, "evaluation": 1, "deltas": 1}
UNITS = PASSES | {"algebra": 1}


@dataclass
class Ledger:
    """Cases counted per kind of pass, and how often J and Jᵀ were applied inside the inner solves."""

    forward: int = 0
    backward: int = 0
    jvp: int = 0
    vjp: int = 0
    squares: int = 0
    norms: int = 0
    evaluation: int = 0  # loss evaluations of backtracking, line search, rho, and a scheduler's validation test
    deltas: int = 0
    algebra: int = 0  # matrix products and decompositions beside the passes, in units
    jvp_calls: int = 0
    vjp_calls: int = 0

    def count(self, kind: str, cases: int) -> None:
        """Adds one pass of `kind` over `cases` cases."""
        setattr(self, kind, getattr(self, kind) + cases)

    @property
    def work(self) -> int:
        """Σ cases × units, in forward passes of one case."""
        return sum(units * getattr(self, kind) for kind, units in UNITS.items())

    @property
    def products(self) -> float:
        """Gauss-Newton products: one J·v and one Jᵀ·u make one."""
        return (self.jvp_calls + self.vjp_calls) / 2

    def state_dict(self) -> dict[str, int]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        for field in fields(self):
            setattr(self, field.name, int(state.get(field.name, 0)))  # older states have fewer kinds
