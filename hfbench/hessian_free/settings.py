"""Checks of the settings of HessianFree's constructor, also across ranks."""

from __future__ import annotations

import hashlib
import inspect
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
from hfbench.messages import did_you_mean, quoted
from hfbench.parts import registry
from hfbench.parts.hyperparameters import build_part, hyperparameters
from hfbench.parts.protocols import STEP_EVIDENCE, Rule
from hfbench.parts.source_files import read_source
from hfbench.setting_checks import as_python, has_entries, non_negative_number


def check_evidence(evidence: Collection[str]) -> None:
    if not (has_entries(evidence) and isinstance(evidence, Collection)):
        raise ConfigError(f'evidence: must be a list of names, such as ["variance_l1"], but got {quoted(evidence)}.')
    for name in evidence:
        if not isinstance(name, str) or name not in STEP_EVIDENCE:
            known = ", ".join(STEP_EVIDENCE)
            raise ConfigError(
                f"evidence: must be among {known}, but got {quoted(name)}{did_you_mean(name, STEP_EVIDENCE)}."
            )


def check_no_other(settings: Mapping[str, object]) -> None:
    if "lr" in settings:
        raise ConfigError(
            f"lr: HessianFree has no learning rate, but got {quoted(settings['lr'])}: leave it out. Each step's "
            "length is computed, by line search, and the damping adapts by itself."
        )
    if "weight_decay" in settings:
        raise ConfigError(f"weight_decay: HessianFree calls it decay: give decay={quoted(settings['weight_decay'])}.")
    for name, value in settings.items():
        entry = "initial_damping" if name == "damping" else name
        if entry in {setting.name for setting in hyperparameters(Globalization)}:
            adapts = "the damping adapts by itself, from a first value: " if entry == "initial_damping" else ""
            raise ConfigError(
                f'{name}: is a setting of the globalization; {adapts}give globalization={{"{entry}": {quoted(value)}}}.'
            )
    _refuse_others(settings, "__init__")


def check_no_closure(settings: Mapping[str, object]) -> None:
    """Raises ConfigError for the closure that trainers pass to `step`, TypeError for other keywords."""
    if "closure" in settings:
        raise ConfigError(
            "closure: HessianFree takes none, since it runs the model itself: call optimizer.step(inputs, targets), "
            "in Lightning from a training_step with automatic_optimization = False."
        )
    _refuse_others(settings, "step")


def _refuse_others(settings: Mapping[str, object], method: str) -> None:
    for name in settings:  # as Python says it
        raise TypeError(f"HessianFree.{method}() got an unexpected keyword argument {quoted(name)}")


def globalization_of(given: Any) -> Globalization:
    """The settings given as an instance or a table, or the defaults for None."""
    if isinstance(given, Globalization):
        return given
    if given is not None and not isinstance(given, Mapping):
        raise ConfigError(
            'globalization: must be a table of settings, such as {"initial_damping": 1.0}, a Globalization, or None, '
            f"but got {quoted(given)}."
        )
    return build_part(Globalization, given or {}, "globalization")


def rules_of(given: Any) -> list[Rule]:
    """The rules of a list of names, tables and instances."""
    if not has_entries(given):
        raise ConfigError(
            f'rules: must be a list, such as ["relative-progress"], but got {quoted(given)}: put a single rule in '
            "brackets; [] leaves max_inner alone."
        )
    return [registry.build("rule", rule, "rules") for rule in given]


def decay_of(named: Mapping[str, Tensor], decay: float | Mapping[str, float], mask: str) -> tuple[float, ...]:
    """The diagonal mu D, one number per parameter: one mu for the blocks of the mask, or one for each name."""
    if not isinstance(decay, Mapping):
        return decay_per_block(list(named.values()), decay, mask)
    for name, mu in decay.items():
        where = f"decay[{quoted(name)}]"
        non_negative_number(mu, where)
        if name not in named:
            known = ", ".join(named)
            raise ConfigError(
                f"{where}: must name a trained parameter, but there is none{did_you_mean(name, named)}; known: {known}."
            )
    if mask != "weights":
        raise ConfigError(
            f"decay_mask: {quoted(mask)} goes with one number for decay, but got a mapping, which says all: leave it "
            "out."
        )
    return tuple(non_negative_number(decay.get(name, 0.0), "decay") for name in named)


def generator_of(seed: Any) -> torch.Generator:
    """The CPU generator given, or a new one with this seed."""
    if isinstance(seed, torch.Generator) and seed.device.type == "cpu":
        return seed
    number = as_python(seed)
    if isinstance(number, bool) or not isinstance(number, int) or not -(2**63) <= number < 2**64:
        what = f"a generator on {seed.device}" if isinstance(seed, torch.Generator) else quoted(seed)
        raise ConfigError(
            "seed: must be an int or a torch.Generator on the CPU, which draws alike everywhere, and an int must fit "
            f"64 bits, but got {what}."
        )
    return torch.Generator().manual_seed(number)


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
                *(settings.layout_name, settings.precision, settings.gradient_precision, torch.get_num_threads()),
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
    return sorted(hashlib.sha256(read_source(Path(file))).hexdigest() for file in files if file)
