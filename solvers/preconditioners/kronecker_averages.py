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
from hfbench.linalg.precision import dtype_of_layer
from hfbench.parts import Linearisation, Shift, Vector

from .kronecker_blocks import ExactBlock, KroneckerBlock, KroneckerFactor, Spectrum, SplitBlock, cubes, spectrum

COUNTS = ("steps", "builds", "until", "decomposed")  # whole numbers of a saved state


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


class Damped(NamedTuple):
    """Factors and γ, one for each of them, that blocks were made of, and the step that makes the next ones."""

    factors: list[LayerFactors]
    gammas: list[float]
    until: int


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
        self.factors: list[LayerFactors] = []
        self.damped: Damped | None = None
        self._blocks: list[KroneckerBlock] = []  # of `damped`
        self._spectra: dict[int, tuple[LayerFactors, Spectrum, Spectrum]] = {}  # of the factors, by their identity

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
            gammas = self._gammas(shift, linearisation.layout)
            self.damped, self._blocks = Damped(self.factors, gammas, self._next(self.settings.inverses)), []
        if not self._blocks:  # after loading, too
            self._blocks = self._damped_blocks(linearisation.parameters[0])
        if due and self.settings.damping == "exact" and self.decomposed != self.builds:
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

    def _averaged(self, new: list[LayerFactors]) -> list[LayerFactors]:
        """The average at this build, in new tensors."""
        share = min(1 - 1 / self.builds, self.settings.memory)
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

    def _damped_blocks(self, like: Tensor) -> list[KroneckerBlock]:
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
        wanted = torch.bfloat16 if self.settings.precision == "bfloat16" else like.dtype
        return dtype_of_layer(p * q, like.dtype, wanted)

    # ------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Plain data and tensors that later builds do not change; empty if no build depends on another."""
        settings = self.settings
        if settings.refresh == settings.inverses == 1 and settings.memory == 0 and settings.gamma_decay == 1:
            return {}
        state: dict[str, Any] = {name: getattr(self, name) for name in COUNTS}
        state["factors"] = [dict(vars(factor)) for factor in self.factors]
        if settings.inverses > 1 and self.damped is not None:
            factors = [dict(vars(factor)) for factor in self.damped.factors]
            state["damped"] = {"factors": factors, "gammas": self.damped.gammas, "until": self.damped.until}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises ConfigError, and loads nothing, unless it is a `state_dict` of such a model and kind of settings."""
        counts, factors, damped = _checked(state)
        for kept in (factors, *([damped.factors] if damped is not None else [])):
            if kept and not _cover(kept, self.shapes):
                raise ConfigError(
                    "the state of kfac must have factors for parameters of shapes "
                    f"{list(map(tuple, self.shapes))}, but its blocks are "
                    f"{', '.join(f'{p} × {q}' for p, q in (factor.shape for factor in kept))}: it is of another model."
                )
        for name, number in counts.items():
            setattr(self, name, number)
        self.factors, self.damped, self._blocks, self._spectra = factors, damped, [], {}


def _checked(state: Mapping[str, Any]) -> tuple[dict[str, int], list[LayerFactors], Damped | None]:
    """Counts, factors and damped factors of a saved state; none before the first step."""
    if not state:
        return dict.fromkeys(COUNTS, 0), [], None
    try:
        counts, factors = {name: state[name] for name in COUNTS}, _factors(state["factors"])
        damped, fits = None, True
        if (kept := state.get("damped")) is not None:
            damped = Damped(_factors(kept["factors"]), [float(gamma) for gamma in kept["gammas"]], int(kept["until"]))
            fits = len(damped.gammas) == len(damped.factors) and set(kept) == {"factors", "gammas", "until"}
        whole = all(isinstance(number, int) and number >= 0 for number in counts.values())
        fits = fits and whole and set(state) - {"damped"} == {*COUNTS, "factors"}
    except (KeyError, TypeError, ValueError, AttributeError):
        fits = False
    if not fits or (counts["builds"] > 0) != bool(factors):
        raise ConfigError(
            f"the state of kfac must have {', '.join(COUNTS)}, and factors with left, right, weight, bias, places and "
            f"spent, but has {', '.join(map(str, state))}: a preconditioner kfac that keeps factors has not saved it."
        )
    return counts, factors, damped


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
