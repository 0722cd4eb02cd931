"""Checks of the settings of HessianFree's constructor, also across ranks."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hfbench.curvature.weight_decay import decay_per_block
from hfbench.errors import ConfigError
from hfbench.hessian_free.globalization import Globalization
from hfbench.hessian_free.step import StepSettings
from hfbench.linalg.data_parallel import ALONE
from hfbench.messages import did_you_mean
from hfbench.parts.hyperparameters import build_part
from hfbench.parts.protocols import STEP_EVIDENCE


def check_evidence(evidence: Collection[str]) -> None:
    for name in evidence:
        if name not in STEP_EVIDENCE:
            known = ", ".join(STEP_EVIDENCE)
            raise ConfigError(f"evidence: must be among {known}, but got {name!r}{did_you_mean(name, STEP_EVIDENCE)}.")


def check_no_other(settings: Mapping[str, object]) -> None:
    if "lr" in settings:
        raise ConfigError(
            f"lr: HessianFree has no learning rate, but got {settings['lr']!r}: leave it out. Each step's length is "
            "computed, by line search, and the damping adapts by itself."
        )
    for name in settings:  # as Python says it
        raise TypeError(f"HessianFree.__init__() got an unexpected keyword argument {name!r}")


def globalization_of(given: Globalization | Mapping[str, Any] | None) -> Globalization:
    if isinstance(given, Globalization):
        return given
    return build_part(Globalization, given or {}, "globalization")


def decay_of(named: Mapping[str, Tensor], decay: float | Mapping[str, float], mask: str) -> tuple[float, ...]:
    """The diagonal mu D, one number per parameter: one mu for the blocks of the mask, or one for each name."""
    each = decay if isinstance(decay, Mapping) else {"": decay}
    for name, mu in each.items():
        where = f"decay[{name!r}]" if name else "decay"
        if isinstance(mu, bool) or not isinstance(mu, int | float) or not 0 <= mu < math.inf:
            raise ConfigError(f"{where}: must be a number in [0, inf), but got {mu!r}.")
        if name and name not in named:
            known = ", ".join(named)
            raise ConfigError(
                f"{where}: must name a trained parameter, but there is none{did_you_mean(name, named)}; known: {known}."
            )
    if not isinstance(decay, Mapping):
        return decay_per_block(list(named.values()), decay, mask)
    if mask != "weights":
        raise ConfigError(
            f"decay_mask: {mask!r} goes with one number for decay, but got a mapping, which says all: leave it out."
        )
    return tuple(float(decay.get(name, 0.0)) for name in named)


def generator_of(seed: Any) -> torch.Generator:
    """The CPU generator given, or a new one with this seed."""
    if isinstance(seed, torch.Generator) and seed.device.type == "cpu":
        return seed
    if isinstance(seed, bool) or not isinstance(seed, int):
        what = f"a generator on {seed.device}" if isinstance(seed, torch.Generator) else repr(seed)
        raise ConfigError(
            f"seed: must be an int or a torch.Generator on the CPU, which draws alike everywhere, but got {what}."
        )
    return torch.Generator().manual_seed(seed)


def check_settings(settings: StepSettings) -> None:
    """Raises ConfigError on all ranks unless all have the same code, settings and weights."""
    if settings.ranks is ALONE:
        return
    parts = [settings.solver, settings.preconditioner, *settings.rules, settings.globalization]
    weights = settings.weights
    settings.ranks.check_alike(
        {
            "release of PyTorch": torch.__version__,
            "code": _code_of(parts),
            "settings": [
                *(repr(part) if is_dataclass(part) else type(part).__qualname__ for part in parts),
                *(settings.loss, settings.mu_D, settings.max_inner, settings.right_hand_side),
                *(settings.layout_name, settings.precision, torch.get_num_threads()),
            ],
            "state of the random generator": settings.generator.get_state().tolist(),
            "shapes and dtypes of parameters": [(tuple(block.shape), block.dtype) for block in weights],
            "weights": [hashlib.sha256(block.cpu().numpy().tobytes()).hexdigest() for block in weights],
        },
        "give all of them the same program, model and seed, such as torch.manual_seed(0) before the model is made",
    )


def _code_of(parts: Iterable[Any]) -> list[str]:
    """Digests of the core and of the parts' files."""
    files = {*Path(__file__).parents[1].rglob("*.py"), *(inspect.getsourcefile(type(part)) for part in parts)}
    return sorted(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files if file)
