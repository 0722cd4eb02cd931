"""Kronecker-factored curvature, K-FAC, as preconditioner.

Formula    M = blockdiag over layers of (S + √γ/π I) ⊗ (A + π√γ I)   "split"
                                     or  S ⊗ A + γ I                 "exact"
                                     or  (Q_S ⊗ Q_A)(diag(s) + γ I)(Q_S ⊗ Q_A)ᵀ
                                         "rescaled", s = mean_i (Q_Sᵀ ∇_i Q_A)∘²
           A = mean_i a_i a_iᵀ,  S = mean_i δ_i δ_iᵀ,
           π² = (tr A / dim A) / (tr S / dim S)
           diag(mean_i (J_iᵀB_i v_i)∘²) + γ I for other parameters
           γ = lambda + mu, or of its own: max(γ_min, γ_1 decayᵏ⁻¹) at step k
Source     Martens and Grosse (2015), "Optimizing neural networks with
           Kronecker-factored approximate curvature", arXiv 1503.05671: the
           factors in section 3, averages over steps in section 5, the split of
           the damping in 6.3. Convolutions: Grosse and Martens (2016), "A
           Kronecker-factored approximate Fisher matrix for convolution
           layers". "rescaled", EKFAC: George et al. (2018), arXiv 1806.03884,
           on the cases of the step that decomposes the factors; "exact" adds γ
           in the same eigenvectors
Symbols    a_i a layer's inputs, with a 1 for the bias; δ_i the layer's part of
           J_iᵀB_i v_i, v_i ∈ {±1}^o at random, so that M's blocks are those of
           the same G, S in expectation; lambda damping, mu the weight's decay;
           Q_S, Q_A eigenvectors, ∇_i = δ_i a_iᵀ; a convolution's a_i and δ_i
           are summed over its places (hfbench/curvature/kronecker_factors.py)
Cost       for new factors, deltas and two products per layer; for new damped
           factors, two Cholesky decompositions per layer ("exact": two
           eigendecompositions for new factors); per solve, two to four small
           matrix products per layer. All of it is in the ledger
"""

from __future__ import annotations

from typing import Annotated, final

import torch
from torch import nn

from hfbench.curvature.kronecker_factors import check_factors
from hfbench.errors import ConfigError
from hfbench.linalg.precision import precision_of
from hfbench.parts import Choice, Integers, Linear, Linearisation, Log, Shift, Within, part

from .kronecker_averages import KroneckerAverages, or_instead
from .kronecker_blocks import KroneckerFactor


@final
@part
class KFAC:
    """Kronecker factors of each layer: Martens & Grosse (2015)."""

    damping: Annotated[
        str,
        Choice("split", "exact", "rescaled"),
        "γ between the factors, in their product, or added to squares of gradients",
    ] = "split"
    probes: Annotated[int, Integers(1, 8, log=True), Within("[1, 10000]"), "random sign vectors per case"] = 1
    refresh: Annotated[
        int, Integers(1, 32, log=True), Within("[1, inf)"), "number of steps for which factors are kept"
    ] = 1
    memory: Annotated[float, Linear(0.0, 0.99), Within("[0, 1)"), "weight of the old factors in averages"] = 0.0
    batch: Annotated[str, Choice("curvature", "gradient"), "cases that the factors are formed on"] = "curvature"
    sample: Annotated[
        int | None,
        Integers(32, 2048, log=True),
        Within("[1, inf)"),
        "number of these cases, the first ones; all without it",
    ] = None
    inverses: Annotated[
        int, Integers(1, 32, log=True), Within("[1, inf)"), "number of steps for which damped factors are kept, in time"
    ] = 1
    gamma: Annotated[
        float | None, Log(1e-3, 1.0), Within("(0, inf)"), "first damping of the factors; lambda + mu if not given"
    ] = None
    gamma_decay: Annotated[float, Linear(0.5, 1.0), Within("(0, 1]"), "its factor from each step to the next"] = 1.0
    min_gamma: Annotated[float, Log(1e-6, 0.1), Within("[0, inf)"), "its least value"] = 0.0
    precision: Annotated[
        str,
        Choice("parameters", "auto", "bfloat16"),
        "of M⁻¹v with split damping; layers of few weights keep theirs",
    ] = "parameters"

    def __post_init__(self) -> None:
        if self.gamma is None and (self.gamma_decay < 1 or self.min_gamma > 0):
            raise ConfigError(
                "gamma: must be given where gamma_decay or min_gamma are, the first damping of the factors, but is not."
            )
        if self.damping != "split" and self.precision != "parameters":
            raise ConfigError(
                f"precision: must be parameters where damping is {self.damping}, but is {self.precision}: eigenvectors "
                "are not rounded."
            )

    @property
    def cases(self) -> str:
        """The batch that M is built on."""
        return self.batch

    def begin(self, model: nn.Module) -> KroneckerAverages:
        """The averaged factors of a run.

        Raises ConfigError for a model without a layer that has factors, and for bfloat16 on a device without units for
        it.
        """
        with or_instead():
            check_factors(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        precision_of(self.precision, trained[0])
        return KroneckerAverages(self, [p.shape for p in trained])

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> KroneckerFactor:
        """M of the first step."""
        return self.begin(linearisation.model).build(linearisation, shift, generator)
