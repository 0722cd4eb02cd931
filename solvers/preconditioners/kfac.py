"""Kronecker-factored curvature, K-FAC, as preconditioner.

Formula    M = blockdiag over layers of (S + √γ/π I) ⊗ (A + π√γ I)   "split"
                                     or  S ⊗ A + γ I                 "exact"
           A = mean_i a_i a_iᵀ,  S = mean_i δ_i δ_iᵀ,
           π² = (tr A / dim A) / (tr S / dim S),  γ = lambda + mu
Source     Martens and Grosse (2015), "Optimizing neural networks with
           Kronecker-factored approximate curvature", arXiv 1503.05671: the
           factors in section 3, averages over steps in section 5, the split of
           the damping in 6.3. Convolutions: Grosse and Martens (2016), "A
           Kronecker-factored approximate Fisher matrix for convolution
           layers". "exact" adds γ in the basis of eigenvectors, as George et
           al. (2018), arXiv 1806.03884, do
Symbols    a_i a layer's inputs, with a 1 for the bias; δ_i the layer's part of
           J_iᵀB_i v_i, v_i ∈ {±1}^o at random, so that M's blocks are those of
           the same G, S in expectation; lambda damping, mu the weight's decay;
           a convolution's a_i and δ_i are summed over its places
           (hfbench/curvature/kronecker_factors.py)
Cost       deltas and two products per layer for new factors; two Cholesky
           decompositions per layer and build ("exact": two eigendecompositions
           for new factors); two to four small matrix products per layer and
           solve. All of it is in the ledger
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, final

import torch
from torch import Tensor, nn

from hfbench.curvature.kronecker_factors import LayerFactors, check_factors
from hfbench.errors import ConfigError
from hfbench.linalg.layout import Layout
from hfbench.parts import Choice, Integers, Linear, Linearisation, Shift, Vector, Within, part

from .kronecker_blocks import ExactBlock, KroneckerBlock, KroneckerFactor, Spectrum, SplitBlock, cubes, spectrum


@contextmanager
def or_instead() -> Iterator[None]:
    """Adds to an error about layers that are not covered the preconditioners to use instead of K-FAC."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{error} Use chapelle-erhan, martens or exact-diagonal.") from error


@final
@part
class KFAC:
    """Kronecker factors of each layer: Martens & Grosse (2015)."""

    cases: ClassVar[str] = "curvature"
    damping: Annotated[str, Choice("split", "exact"), "how lambda enters: between the factors, or to their product"] = (
        "split"
    )
    probes: Annotated[int, Integers(1, 8, log=True), Within("[1, 10000]"), "random sign vectors per case"] = 1
    refresh: Annotated[
        int, Integers(1, 32, log=True), Within("[1, inf)"), "number of steps for which factors are kept"
    ] = 1
    memory: Annotated[float, Linear(0.0, 0.99), Within("[0, 1)"), "weight of the old factors in averages"] = 0.0

    def begin(self, model: nn.Module) -> KroneckerAverages:
        """The averaged factors of a run. Raises ConfigError for a layer that they do not cover."""
        with or_instead():
            check_factors(model)
        return KroneckerAverages(self, [p.shape for p in model.parameters() if p.requires_grad])

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> KroneckerFactor:
        """M of the first step."""
        return self.begin(linearisation.model).build(linearisation, shift, generator)


class KroneckerAverages:
    """Factors kept for `refresh` steps and averaged: ε old + (1 - ε) new, ε = min(1 - 1/k, memory) at build k."""

    def __init__(self, settings: KFAC, shapes: Sequence[torch.Size]) -> None:
        self.settings, self.shapes, self.steps = settings, shapes, 0  # shapes of the trained parameters
        self.factors: list[LayerFactors] = []
        self._spectra: list[tuple[Spectrum, Spectrum]] = []

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> KroneckerFactor:
        """M of this step. The damping is always the present one; the factors may come from an earlier step."""
        if self.steps % self.settings.refresh == 0:
            with or_instead():
                new = linearisation.kronecker_factors(self._probes(linearisation, generator))
            self.factors, self._spectra = self._averaged(new), []
            if self.settings.damping == "exact":
                linearisation.ledger.count("algebra", round(4.5 * cubes(self.factors)))
        self.steps += 1
        gammas, like = _gammas(shift, linearisation.layout), linearisation.parameters[0]
        blocks: list[KroneckerBlock] = []
        if self.settings.damping == "split":
            for factor in self.factors:
                left, right = factor.left.to(like), factor.right.to(like)
                blocks.append(SplitBlock(factor, left, right, gammas[factor.position]))
        else:
            for factor, spectra in zip(self.factors, self._spectra_of(like), strict=True):
                blocks.append(ExactBlock(factor, *spectra, gammas[factor.position]))
        return KroneckerFactor(blocks, linearisation.layout, linearisation.ledger)

    def _spectra_of(self, like: Tensor) -> list[tuple[Spectrum, Spectrum]]:
        """The eigendecompositions of the factors, kept as long as these are."""
        if not self._spectra:  # after loading, too
            self._spectra = [
                (spectrum(factor.left.to(like)), spectrum(factor.right.to(like))) for factor in self.factors
            ]
        return self._spectra

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors that later builds do not change; empty if no build depends on another."""
        if self.settings.refresh == 1 and self.settings.memory == 0:
            return {}
        return {"steps": self.steps, "factors": [dict(vars(factor)) for factor in self.factors]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError, and loads nothing, unless it is a `state_dict` of such a model and kind of settings."""
        steps, factors = _checked(state)
        if factors and not _cover(factors, self.shapes):
            raise ConfigError(
                f"the state of kfac must have factors for parameters of shapes {list(map(tuple, self.shapes))}, but "
                f"its blocks are {', '.join(f'{p} × {q}' for p, q in (factor.shape for factor in factors))}: it is of "
                "another model."
            )
        self.steps, self.factors, self._spectra = steps, factors, []

    def _probes(self, at: Linearisation, generator: torch.Generator) -> list[Tensor]:
        """B v for random signs v."""
        return [at.loss_at.factor(at.signs(generator)) for _ in range(self.settings.probes)]

    def _averaged(self, new: list[LayerFactors]) -> list[LayerFactors]:
        """The average at the k-th build of factors, in new tensors."""
        k = self.steps // self.settings.refresh + 1
        share = min(1 - 1 / k, self.settings.memory)
        if share == 0:
            return new
        if [factor.shape for factor in new] != [factor.shape for factor in self.factors]:
            raise ConfigError("the factors kept from the steps before are of another model's layers.")
        return [factor.towards(old, share) for factor, old in zip(new, self.factors, strict=True)]


def _gammas(shift: Shift, layout: Layout) -> list[float]:
    """The shift of every parameter's block."""
    return [float(block.mean()) for block in layout.unpack(shift)] if isinstance(shift, Vector) else list(shift)


def _checked(state: Mapping[str, Any]) -> tuple[int, list[LayerFactors]]:
    """Steps and factors of a saved state; none before the first step."""
    if not state:
        return 0, []
    try:
        steps, factors = state["steps"], [LayerFactors(**kept) for kept in state["factors"]]
        fits = isinstance(steps, int) and all(factor.left.dim() == factor.right.dim() == 2 for factor in factors)
        fits = fits and set(state) == {"steps", "factors"}
    except (KeyError, TypeError, AttributeError):
        fits = False
    if not fits or steps < 0 or (steps > 0) != bool(factors):
        raise ConfigError(
            "the state of kfac must have steps, and factors with left, right, weight, bias, places and spent, but has "
            f"{', '.join(map(str, state))}: it was not saved by a preconditioner kfac that keeps factors."
        )
    return steps, factors


def _cover(factors: Sequence[LayerFactors], shapes: Sequence[torch.Size]) -> bool:
    """True if the factors' blocks are those of parameters of these shapes, each in one block."""
    blocks = [(factor, [i for i in (factor.weight, factor.bias) if i is not None]) for factor in factors]
    if sorted(i for _, own in blocks for i in own) != list(range(len(shapes))):
        return False
    sizes = [(factor.shape, {shapes[i][0] for i in own}, sum(shapes[i].numel() for i in own)) for factor, own in blocks]
    return all(rows == {p} and p * q == entries for (p, q), rows, entries in sizes)
