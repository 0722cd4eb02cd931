"""Kronecker factors over the steps of a run: formed, averaged, damped, and kept for some steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from hfbench.curvature.block_factors import BlockFactors, DiagonalFactor
from hfbench.curvature.kronecker_factors import LayerFactors
from hfbench.errors import ConfigError
from hfbench.linalg.layout import Layout
from hfbench.linalg.precision import dtype_of_layer, precision_of
from hfbench.parts import Linearisation, Shift, Vector

from .kronecker_blocks import (
    DiagonalBlock,
    ExactBlock,
    KroneckerBlock,
    KroneckerFactor,
    Spectrum,
    SplitBlock,
    cubes,
    pass_cost,
    projected,
    spectrum,
)
from .kronecker_state import COUNTS, Damped, load_factors, save_factors

Spectra = dict[int, tuple[LayerFactors, Spectrum, Spectrum]]  # of the factors, by their identity


@contextmanager
def or_instead() -> Iterator[None]:
    """Adds to an error about layers that are not covered the preconditioners to use instead of K-FAC."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{error} Use chapelle-erhan, martens or exact-diagonal.") from error


class FactorSettings(Protocol):
    """What the averages read of their preconditioner, `kfac`."""

    @property
    def damping(self) -> str: ...
    @property
    def probes(self) -> int: ...
    @property
    def refresh(self) -> int: ...
    @property
    def memory(self) -> float: ...
    @property
    def sample(self) -> int | None: ...
    @property
    def inverses(self) -> int: ...
    @property
    def gamma(self) -> float | None: ...
    @property
    def gamma_decay(self) -> float: ...
    @property
    def min_gamma(self) -> float: ...
    @property
    def precision(self) -> str: ...


class KroneckerAverages:
    """Factors kept for `refresh` steps and averaged: ε old + (1 - ε) new, ε = min(1 - 1/k, memory) at build k.

    Damped factors are kept for `inverses` steps. At the beginning, where both change fast, neither is kept for more
    steps than half of those before.
    """

    def __init__(self, settings: FactorSettings, shapes: Sequence[torch.Size]) -> None:
        self.settings, self.shapes = settings, shapes  # of the trained parameters
        self.steps = self.builds = 0  # begun, and those that formed factors
        self.until = 0  # step that forms the next ones
        self.decomposed = 0  # build whose factors have been decomposed into eigenvectors
        self.factors: list[BlockFactors] = []
        self.damped: Damped | None = None
        self._blocks: list[KroneckerBlock] = []  # of `damped`
        self._spectra: Spectra = {}

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> KroneckerFactor:
        """M of this step, which may be of an earlier step's factors, or of its damping."""
        self.steps += 1
        if self.steps >= self.until:
            at = self._sampled(linearisation)
            with or_instead():
                new = at.kronecker_factors(self._probes(at, generator))
            self.builds += 1
            self.factors, self.until = self._averaged(new), self._next(self.settings.refresh)
        due = self.damped is None or self.steps >= self.damped.until
        if due:
            if self.settings.damping == "rescaled":
                self.factors = self._rescaled(linearisation, generator)
            gammas = self._gammas(shift, linearisation.layout)
            self.damped, self._blocks = Damped(self.factors, gammas, self._next(self.settings.inverses)), []
        if not self._blocks:  # after loading, too
            self._blocks = self._damped_blocks(linearisation.parameters[0])
        if due and self.settings.damping != "split" and self.decomposed != self.builds:
            linearisation.ledger.count("algebra", round(4.5 * cubes(self.factors)))
            self.decomposed = self.builds
        return KroneckerFactor(self._blocks, linearisation.layout, linearisation.ledger, is_new=due)

    def _next(self, most: int) -> int:
        """The step up to which something is kept."""
        return self.steps + min(most, max(1, self.steps // 2))

    def _sampled(self, at: Linearisation) -> Linearisation:
        """The cases that factors are formed on; of every rank's, its share."""
        m = self.settings.sample
        return at if m is None or m >= at.n else at.first(math.ceil(m * at.here / at.n))

    def _probes(self, at: Linearisation, generator: torch.Generator) -> list[Tensor]:
        """B v for random signs v."""
        return [at.loss_at.factor(at.signs(generator)) for _ in range(self.settings.probes)]

    def _averaged(self, new: list[BlockFactors]) -> list[BlockFactors]:
        """The average at this build, in new tensors."""
        share = min(1 - 1 / self.builds, self.settings.memory)
        if share == 0:
            return new
        if [(type(factor), factor.shape) for factor in new] != [(type(old), old.shape) for old in self.factors]:
            raise ConfigError("the factors kept from the steps before are of another model's layers.")
        return [factor.towards(old, share) for factor, old in zip(new, self.factors, strict=True)]

    def _rescaled(self, linearisation: Linearisation, generator: torch.Generator) -> list[BlockFactors]:
        """The factors with squares of gradients in their eigenvectors: of this step, unless they have some."""
        layers = [factor for factor in self.factors if isinstance(factor, LayerFactors)]
        if all(factor.squares is not None for factor in layers):
            return self.factors
        at = self._sampled(linearisation)
        like = linearisation.parameters[0]
        spectra = {tuple(factor.positions): self._decomposed(factor, like, self._spectra) for factor in layers}
        bases = {block: (left.Q, right.Q) for block, (left, right) in spectra.items()}
        squares: dict[tuple[int, ...], Tensor] = at.layer_squares(self._probes(at, generator), bases)
        spent = self.settings.probes * sum(projected(factor) for factor in layers)  # per case
        at.ledger.count("algebra", round(at.here * spent / pass_cost(self.factors)))
        return [
            replace(factor, squares=squares[tuple(factor.positions)]) if isinstance(factor, LayerFactors) else factor
            for factor in self.factors
        ]

    # ------------------------------------------------------------ damping

    def _gammas(self, shift: Shift, layout: Layout) -> list[float]:
        """γ of every block: the shift of its weights, or the factors' own damping."""
        if (gamma := self.settings.gamma) is not None:
            own = gamma * self.settings.gamma_decay ** (self.steps - 1)
            return [max(self.settings.min_gamma, own)] * len(self.factors)
        shifts = [float(block.mean()) for block in layout.unpack(shift)] if isinstance(shift, Vector) else shift
        return [shifts[factor.positions[0]] for factor in self.factors]

    def _damped_blocks(self, like: Tensor) -> list[KroneckerBlock]:
        """The blocks of `damped`."""
        assert self.damped is not None  # `build` has seen to it
        kept, self._spectra = self._spectra, {}  # of factors that are still there
        return [
            self._damped_block(factor, gamma, like, kept)
            for factor, gamma in zip(self.damped.factors, self.damped.gammas, strict=True)
        ]

    def _damped_block(self, factor: BlockFactors, gamma: float, like: Tensor, kept: Spectra) -> KroneckerBlock:
        if isinstance(factor, DiagonalFactor):
            return DiagonalBlock(factor, factor.squares.to(like), gamma)
        assert isinstance(factor, LayerFactors)
        if self.settings.damping == "split":
            left, right = factor.left.to(like), factor.right.to(like)
            return SplitBlock(factor, left, right, gamma, self._dtype(factor, like))
        return ExactBlock(factor, *self._decomposed(factor, like, kept), gamma)

    def _decomposed(self, factor: LayerFactors, like: Tensor, kept: Spectra) -> tuple[Spectrum, Spectrum]:
        """The spectra of both factors, which may be kept from an earlier step."""
        key = id(factor.left)  # which is in `kept`, so that its identity is no other's
        self._spectra[key] = kept.get(key) or (factor, spectrum(factor.left.to(like)), spectrum(factor.right.to(like)))
        return self._spectra[key][1:]

    def _dtype(self, factor: LayerFactors, like: Tensor) -> torch.dtype:
        """The dtype of M⁻¹v."""
        p, q = factor.shape
        return dtype_of_layer(p * q, like.dtype, precision_of(self.settings.precision, like).dtype)

    # ------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors that later builds do not change; empty if no build depends on another."""
        settings = self.settings
        if settings.refresh == settings.inverses == 1 and settings.memory == 0 and settings.gamma_decay == 1:
            return {}
        state: dict[str, Any] = {name: getattr(self, name) for name in COUNTS}
        state["factors"] = save_factors(self.factors)
        if settings.inverses > 1 and self.damped is not None:
            state["damped"] = {**self.damped._asdict(), "factors": save_factors(self.damped.factors)}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError, and loads nothing, unless it is a `state_dict` of such a model and kind of settings."""
        counts, factors, damped = load_factors(state, self.shapes)
        for name, number in counts.items():
            setattr(self, name, number)
        self.factors, self.damped, self._blocks, self._spectra = factors, damped, [], {}
