"""Settings that all tasks declare, the split into training and validation, sparse dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn

from hfbench.errors import ConfigError
from hfbench.messages import quoted
from hfbench.parts import Choice, Log, Split, TaskData, Within

MOST_LAYERS = 100
FAN_IN = 15  # incoming weights of a unit that start non-zero (Martens 2010, section 5)

Decay = Annotated[float, Log(1e-7, 1e-3), Within("[0, 1000]"), "weight decay mu"]
DecayMask = Annotated[str, Choice("weights", "all", "none"), "which parameters decay (Martens' program: all)"]
Target = Annotated[float, Within("(0, inf)"), "error at which a run has reached its target"]
Validation = Annotated[int, Within("[1, inf)"), "cases set aside from the training file for validation"]
CaseLimit = Annotated[int | None, Within("[1, inf)"), "number of training cases to use (all if not given)"]


def whole_numbers(setting: str, given: Sequence[int]) -> tuple[int, ...]:
    """The numbers as a tuple (TOML gives a list). Raises ConfigError unless they are positive and whole."""
    if not given or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in given):
        raise ConfigError(f"{setting}: must be one or more positive whole numbers, but got {quoted(given)}.")
    if len(given) > MOST_LAYERS:
        raise ConfigError(f"{setting}: must be at most {MOST_LAYERS} numbers, but got {len(given)}.")
    return tuple(given)


def checked_layers(layers: Sequence[int]) -> tuple[int, ...]:
    """The layers as a tuple. Raises ConfigError unless they are positive whole numbers."""
    return whole_numbers("layers", layers)


def sparse_normal(units: int, fan_in: int, generator: torch.Generator) -> Tensor:
    """(units × fan_in): min(15, fan_in) incoming weights of each unit from N(0, 1), the others zero."""
    kept = min(FAN_IN, fan_in)
    chosen = torch.rand(units, fan_in, generator=generator).topk(kept, dim=1).indices
    return torch.zeros(units, fan_in).scatter_(1, chosen, torch.randn(units, kept, generator=generator))


def sparse_linear(fan_in: int, units: int, generator: torch.Generator) -> nn.Linear:
    """A dense layer: min(15, fan_in) incoming weights of each unit from N(0, 1), the others and the biases zero."""
    with torch.random.fork_rng(devices=[]):  # nn.Linear's own initialisation draws from the global generator
        layer = nn.Linear(fan_in, units, dtype=torch.float32)
    with torch.no_grad():
        layer.weight.copy_(sparse_normal(units, fan_in, generator))
        layer.bias.zero_()
    return layer


def drawn(count: int, validation: int, cases: int | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of the training and the validation cases out of `count`; `generator` shuffles them.

    The first `validation` of the shuffled cases are for validation, the next `cases` (all if None) for training, so
    that smaller training sets are subsets of larger ones. Raises ConfigError if there are too few cases.
    """
    left = count - validation
    if left < 1:
        raise ConfigError(f"validation: must be less than the {count} cases there are, but got {validation}.")
    if cases is not None and cases > left:
        raise ConfigError(f"cases: must be at most {left}, the training cases without validation, but got {cases}.")
    order = torch.randperm(count, generator=generator)
    return order[validation:][:cases], order[:validation]


def split(pool: Split, test: Split, validation: int, cases: int | None, generator: torch.Generator) -> TaskData:
    """Training and validation cases drawn from the pool, and the test cases. Raises ConfigError as `drawn` does."""
    training, held_out = drawn(len(pool), validation, cases, generator)
    train, validate = (Split(pool.inputs[chosen], pool.targets[chosen]) for chosen in (training, held_out))
    return TaskData(train, validate, test)
