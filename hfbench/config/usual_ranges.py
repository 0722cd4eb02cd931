"""Settings that are usually tuned: those of a sweep's method for which the file gives no ranges."""

from __future__ import annotations

from hfbench.config.methods import Method
from hfbench.errors import ConfigError
from hfbench.parts import registry
from hfbench.parts.hyperparameters import hyperparameters

OF_BASELINE = ("lr", "minibatch", "schedule", "span")
OF_HESSIAN_FREE = ("globalization.initial_damping", "rules.relative-progress.epsilon")


def usual_paths(method: Method) -> list[str]:
    """Key paths of the method's usual settings, each with a declared range.

    Of a baseline they are learning rates, the minibatch, the schedule and its span; of a Hessian-free method the first
    lambda and the tolerance of its stopping rule. Raises ConfigError if it has none of them.
    """
    found = _of_baseline(method) if method.optimizer is not None else _of_hessian_free(method)
    if not found:
        raise ConfigError(
            f"sweep.parameters.{method.name}: must name at least one setting, such as scheduler.theta = {{}}: "
            f"{method.name} has none of those that are usually tuned."
        )
    return found


def _of_baseline(method: Method) -> list[str]:
    from hfbench.parts.protocols import SuggestsRanges  # brings torch

    assert method.optimizer is not None
    part = registry.build("optimizer", method.optimizer)
    suggested = part.ranges() if isinstance(part, SuggestsRanges) else {}
    rates = [path for path in suggested if path.endswith(".lr")]
    declared = {setting.name for setting in hyperparameters(type(part)) if setting.search is not None}
    return [f"optimizer.{path}" for path in [*rates, *(name for name in OF_BASELINE if name in declared)]]


def _of_hessian_free(method: Method) -> list[str]:
    rules = {f"rules.{rule['use']}.{name}" for rule in method.rules for name in rule}
    return [path for path in OF_HESSIAN_FREE if path.startswith("globalization.") or path in rules]
