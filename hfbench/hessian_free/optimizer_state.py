"""State of HessianFree in the format of `torch.optim`: one group of parameters, saved and loaded as a whole.

The group holds lambda, the iteration, the random generator's state and the parameters' shapes; the state of a
parameter is its block of the warm start.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hfbench.errors import ConfigError
from hfbench.messages import quoted

KEYS = ("params", "damping", "iteration", "generator", "shapes")


class ParameterGroup(dict[str, Any]):
    """A parameter group whose error message says why there is no learning rate to schedule."""

    def __missing__(self, key: str) -> Any:
        if key == "lr":
            raise ConfigError(
                "HessianFree has no learning rate, so that there is nothing for a scheduler to set: it picks each "
                "step's length by line search, and adapts its damping by itself."
            )
        raise KeyError(key)


def shapes(parameters: Iterable[Tensor]) -> list[list[int]]:
    return [list(p.shape) for p in parameters]


def check_state(given: Any, wanted: Sequence[Sequence[int]]) -> None:
    """Raises ConfigError unless `given` is a whole state_dict of HessianFree for parameters of the wanted shapes."""
    groups = given.get("param_groups") if isinstance(given, Mapping) else None
    if not isinstance(groups, list) or len(groups) != 1 or not set(KEYS) <= set(groups[0]):
        has = ", ".join(map(str, groups[0])) if isinstance(groups, list) and groups else type(given).__name__
        raise ConfigError(
            f"state_dict: must come from HessianFree.state_dict(), with one group of {', '.join(KEYS)}, but has {has}: "
            "is it another optimiser's, or the model's?"
        )
    group = groups[0]
    if list(map(list, group["shapes"])) != list(map(list, wanted)):
        raise ConfigError(
            f"state_dict: must be for parameters of the shapes {wanted}, in order, but is for {group['shapes']}: load "
            "it into the HessianFree of the same model."
        )
    for problem in (_number_problem(group), _generator_problem(group["generator"]), _warm_start_problem(given, wanted)):
        if problem:
            raise ConfigError(f"state_dict: {problem}; it was not saved by HessianFree.state_dict().")


def _number_problem(group: Mapping[str, Any]) -> str:
    damping, iteration = group["damping"], group["iteration"]
    if not isinstance(damping, int | float) or not 0 <= damping < math.inf:
        return f"damping must lie in [0, inf), but is {quoted(damping)}"
    if not isinstance(iteration, int) or iteration < 0:
        return f"iteration must be a whole number from 0, but is {quoted(iteration)}"
    return ""


def _generator_problem(state: Any) -> str:
    try:
        torch.Generator().set_state(state.cpu())
    except (RuntimeError, TypeError, AttributeError) as error:
        return f"generator must be the state of a CPU generator, but {error}"
    return ""


def _warm_start_problem(given: Mapping[str, Any], wanted: Sequence[Sequence[int]]) -> str:
    """Problem of the warm start: it must be empty (before the first step, after an overflow) or have all blocks."""
    state, ids = given.get("state"), given["param_groups"][0]["params"]
    if not isinstance(state, Mapping) or (state and set(state) != set(ids)) or len(ids) != len(wanted):
        return "state must be empty or have an entry per parameter"
    found = [getattr(state[i].get("warm_start"), "shape", None) for i in ids] if state else wanted
    if [list(shape) if shape is not None else None for shape in found] != list(map(list, wanted)):
        return f"warm_start must have the parameters' shapes, but has {found}"
    return ""
