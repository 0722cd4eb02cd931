"""A randomised low-rank approximation of the curvature as preconditioner.

Formula    M = Λ^½ (U (S + I) Uᵀ + (s_k + 1)(I - U Uᵀ)) Λ^½,
           Λ = mu D + lambda I
           U S Uᵀ = Λ^-½ Ĝ Λ^-½, its eigenvectors and eigenvalues s_1 ≥ … ≥ s_k
           Ĝ = Y(ΩᵀY)⁻¹Yᵀ, Y = GΩ + νΩ, Ω: P × k, random and orthonormal,
           and ν taken off the eigenvalues again
           k doubles while s_k > `tolerance`, up to `most`
Source     Frangella, Tropp and Udell (2023), "Randomized Nyström
           preconditioning", arXiv 2110.02820: algorithm 2.1 for Ĝ, equation
           1.3 for M, there with Λ = lambda I and divided by s_k + lambda;
           section 5.4 for k
Symbols    G Gauss-Newton matrix, P × P, mu D weight decay, lambda damping; ν
           the rounding of GΩ
Cost       k products with G for each new Ĝ, all at once, and some 6Pk²
           multiplications; two products with U per solve
"""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from torch import nn

from hfbench.errors import ConfigError
from hfbench.parts import Integers, Linearisation, Log, Shift, Within, part

from .nystrom_sketch import LowRankFactor, NystromSketches


@final
@part
class Nystrom:
    """Random low-rank curvature: Frangella, Tropp & Udell (2023)."""

    cases: ClassVar[str] = "curvature"
    rank: Annotated[int, Integers(5, 200, log=True), Within("[1, 10000]"), "first rank k that is tried"] = 20
    most: Annotated[int, Integers(20, 1000, log=True), Within("[1, 10000]"), "largest rank"] = 160
    tolerance: Annotated[
        float, Log(0.1, 100), Within("(0, inf)"), "least eigenvalue of the low-rank part that ends the doubling, in λ"
    ] = 10.0
    refresh: Annotated[int, Integers(1, 32, log=True), Within("[1, inf)"), "number of steps for which Ĝ is kept"] = 1

    def __post_init__(self) -> None:
        if self.most < self.rank:
            raise ConfigError(f"most: must be at least rank, {self.rank}, but is {self.most}.")

    def begin(self, model: nn.Module) -> NystromSketches:
        """The approximations of a run."""
        parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        return NystromSketches(parameters, self.rank, self.most, self.tolerance, self.refresh)

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> LowRankFactor:
        """M of the first step."""
        return self.begin(linearisation.model).build(linearisation, shift, generator)
