"""Kronecker factors over the steps of a run: formed, averaged, damped, and kept for some steps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from hfbench.curvature.kronecker_factors import LayerFactors
from hfbench.errors import ConfigError
from hfbench.linalg.layout import Layout
from hfbench.parts import Linearisation, Shift, Vector

from .kronecker_blocks import ExactBlock, KroneckerBlock, KroneckerFactor, Spectrum, SplitBlock, cubes, spectrum

NARROW = 8000  # weights of a layer up to which bfloat16 saves nothing, and its rounding shows in training


@contextmanager
def or_instead() -> Iterator[None]:
    """Adds to an error about layers that are not covered the preconditioners to use instead of K-FAC."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{error} Use chapelle-erhan, martens or exact-diagonal.") from error


class Settings(Protocol):
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


class Damped(NamedTuple):
    """Factors and γ, one for each of them, that blocks were made of, and the step that makes the next ones."""

    factors: list[LayerFactors]
    gammas: list[float]
    until: int


class KroneckerAverages:
    """Factors kept for `refresh` steps and averaged: ε old + (1 - ε) new, ε = min(1 - 1/k, memory) at build k.

    Damped factors are kept for `inverses` steps; at the beginning, where γ falls fast, for half as many as there were.
    """

    def __init__(self, settings: Settings, shapes: Sequence[torch.Size]) -> None:
        self.settings, self.shapes, self.steps = settings, shapes, 0  # shapes of the trained parameters
        self.factors: list[LayerFactors] = []
        self.damped: Damped | None = None
        self._blocks: list[KroneckerBlock] = []  # of `damped`
        self._spectra: dict[int, tuple[LayerFactors, Spectrum, Spectrum]] = {}  # of the factors, by their identity

    def build(self, linearisation: Linearisation, shift: Shift, generator: torch.Generator) -> KroneckerFactor:
        """M of this step, which may be of an earlier step's factors, or of its damping."""
        if self.steps % self.settings.refresh == 0:
            at = self._sampled(linearisation)
            with or_instead():
                new = at.kronecker_factors(self._probes(at, generator))
            self.factors = self._averaged(new)
            if self.settings.damping == "exact":
                linearisation.ledger.count("algebra", round(4.5 * cubes(self.factors)))
        self.steps += 1
        due = self.damped is None or self.steps >= self.damped.until
        if due:
            until = self.steps + min(self.settings.inverses, max(1, self.steps // 2))
            self.damped, self._blocks = Damped(self.factors, self._gammas(shift, linearisation.layout), until), []
        if not self._blocks:  # after loading, too
            self._blocks = self._made(linearisation.parameters[0])
        return KroneckerFactor(self._blocks, linearisation.layout, linearisation.ledger, is_new=due)

    def _sampled(self, at: Linearisation) -> Linearisation:
        """The cases that factors are formed on; of every rank's, its share."""
        m = self.settings.sample
        return at if m is None or m >= at.n else at.first(math.ceil(m * at.here / at.n))

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

    # ------------------------------------------------------------ damping

    def _gammas(self, shift: Shift, layout: Layout) -> list[float]:
        """γ of every block: the shift of its weights, or the factors' own damping."""
        if (gamma := self.settings.gamma) is not None:
            own = gamma * self.settings.gamma_decay ** (self.steps - 1)
            return [max(self.settings.min_gamma, own)] * len(self.factors)
        shifts = [float(block.mean()) for block in layout.unpack(shift)] if isinstance(shift, Vector) else shift
        return [shifts[factor.position] for factor in self.factors]

    def _made(self, like: Tensor) -> list[KroneckerBlock]:
        """The blocks of `damped`."""
        assert self.damped is not None  # `build` has seen to it
        pairs = list(zip(self.damped.factors, self.damped.gammas, strict=True))
        if self.settings.damping == "split":
            return [
                SplitBlock(factor, factor.left.to(like), factor.right.to(like), gamma, self._dtype(factor, like))
                for factor, gamma in pairs
            ]
        kept, self._spectra = self._spectra, {}  # of factors that are still there
        for factor, _ in pairs:
            self._spectra[id(factor)] = kept.get(id(factor)) or (
                factor, spectrum(factor.left.to(like)), spectrum(factor.right.to(like)),
            )  # fmt: skip
        return [ExactBlock(factor, *self._spectra[id(factor)][1:], gamma) for factor, gamma in pairs]

    def _dtype(self, factor: LayerFactors, like: Tensor) -> torch.dtype:
        """The dtype of M⁻¹v."""
        p, q = factor.shape
        return torch.bfloat16 if self.settings.precision == "bfloat16" and p * q > NARROW else like.dtype

    # ------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors that later builds do not change; empty if no build depends on another."""
        of = self.settings
        if of.refresh == of.inverses == 1 and of.memory == 0 and of.gamma_decay == 1:
            return {}
        state: dict[str, Any] = {"steps": self.steps, "factors": [dict(vars(factor)) for factor in self.factors]}
        if of.inverses > 1 and self.damped is not None:
            factors = [dict(vars(factor)) for factor in self.damped.factors]
            state["damped"] = {"factors": factors, "gammas": self.damped.gammas, "until": self.damped.until}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError, and loads nothing, unless it is a `state_dict` of such a model and kind of settings."""
        steps, factors, damped = _checked(state)
        for kept in (factors, *([damped.factors] if damped is not None else [])):
            if kept and not _cover(kept, self.shapes):
                raise ConfigError(
                    "the state of kfac must have factors for parameters of shapes "
                    f"{list(map(tuple, self.shapes))}, but its blocks are "
                    f"{', '.join(f'{p} × {q}' for p, q in (factor.shape for factor in kept))}: it is of another model."
                )
        self.steps, self.factors, self.damped, self._blocks, self._spectra = steps, factors, damped, [], {}


def _checked(state: Mapping[str, Any]) -> tuple[int, list[LayerFactors], Damped | None]:
    """Steps, factors and damped factors of a saved state; none before the first step."""
    if not state:
        return 0, [], None
    try:
        steps, factors = state["steps"], _factors(state["factors"])
        damped = None
        if (kept := state.get("damped")) is not None:
            damped = Damped(_factors(kept["factors"]), [float(gamma) for gamma in kept["gammas"]], int(kept["until"]))
            fits = len(damped.gammas) == len(damped.factors) and set(kept) == {"factors", "gammas", "until"}
        else:
            fits = True
        fits = fits and isinstance(steps, int) and set(state) - {"damped"} == {"steps", "factors"}
    except (KeyError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits or steps < 0 or (steps > 0) != bool(factors):
        raise ConfigError(
            "the state of kfac must have steps, and factors with left, right, weight, bias, places and spent, but has "
            f"{', '.join(map(str, state))}: it was not saved by a preconditioner kfac that keeps factors."
        )
    return steps, factors, damped


def _factors(saved: Sequence[Mapping[str, Any]]) -> list[LayerFactors]:
    factors = [LayerFactors(**kept) for kept in saved]
    if not all(factor.left.dim() == factor.right.dim() == 2 for factor in factors):
        raise ValueError("a factor is no matrix")
    return factors


def _cover(factors: Sequence[LayerFactors], shapes: Sequence[torch.Size]) -> bool:
    """True if the factors' blocks are those of parameters of these shapes, each in one block."""
    blocks = [(factor, [i for i in (factor.weight, factor.bias) if i is not None]) for factor in factors]
    if sorted(i for _, own in blocks for i in own) != list(range(len(shapes))):
        return False
    sizes = [(factor.shape, {shapes[i][0] for i in own}, sum(shapes[i].numel() for i in own)) for factor, own in blocks]
    return all(rows == {p} and p * q == entries for (p, q), rows, entries in sizes)
