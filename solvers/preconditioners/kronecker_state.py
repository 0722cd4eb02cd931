"""State of K-FAC's averages as plain data and tensors: written, and read back with checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from hfbench.curvature.block_factors import BlockFactors, DiagonalFactor
from hfbench.curvature.kronecker_factors import LayerFactors
from hfbench.errors import ConfigError

COUNTS = ("steps", "builds", "until", "decomposed")  # whole numbers of a saved state


class Damped(NamedTuple):
    """Factors and γ, one for each of them, that blocks were made of, and the step that makes the next ones."""

    factors: list[BlockFactors]
    gammas: list[float]
    until: int


def save_factors(factors: Sequence[BlockFactors]) -> list[dict[str, Any]]:
    """The factors as plain data and tensors, which later builds do not change."""
    return [dict(vars(factor)) for factor in factors]


Loaded = tuple[dict[str, int], list[BlockFactors], Damped | None]


def load_factors(state: Mapping[str, Any], shapes: Sequence[torch.Size]) -> Loaded:
    """Counts, factors and damped factors of a saved state; none before the first step.

    Raises ConfigError unless it is a state for parameters of these shapes.
    """
    counts, factors, damped = _checked(state)
    for kept in (factors, *([damped.factors] if damped is not None else [])):
        if kept and not _cover(kept, shapes):
            raise ConfigError(
                f"the state of kfac must have factors for parameters of shapes {list(map(tuple, shapes))}, but its "
                f"blocks are {_in_words(kept)}: it is of another model."
            )
    return counts, factors, damped


def _checked(state: Mapping[str, Any]) -> Loaded:
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


def _factors(saved: Sequence[Mapping[str, Any]]) -> list[BlockFactors]:
    factors: list[BlockFactors] = [LayerFactors(**kept) if "left" in kept else DiagonalFactor(**kept) for kept in saved]
    if not all(factor.left.dim() == factor.right.dim() == 2 for factor in factors if isinstance(factor, LayerFactors)):
        raise ValueError("a factor is no matrix")
    return factors


def _cover(factors: Sequence[BlockFactors], shapes: Sequence[torch.Size]) -> bool:
    """True if the factors' blocks are those of parameters of these shapes, each in one block."""
    if sorted(i for factor in factors for i in factor.positions) != list(range(len(shapes))):
        return False
    return all(_fits(factor, [shapes[i] for i in factor.positions]) for factor in factors)


def _fits(factor: BlockFactors, shapes: Sequence[torch.Size]) -> bool:
    if isinstance(factor, DiagonalFactor):
        return [factor.shape] == list(map(tuple, shapes))
    assert isinstance(factor, LayerFactors)
    p, q = factor.shape
    return {shape[0] for shape in shapes} == {p} and p * q == sum(shape.numel() for shape in shapes)


def _in_words(factors: Sequence[BlockFactors]) -> str:
    return ", ".join(" × ".join(map(str, factor.shape)) for factor in factors)
