"""Contract: the part under test, its checks by name, and the message of a broken one."""

from __future__ import annotations

import random
import unittest
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor


class ContractBroken(AssertionError):
    """A check that does not hold, with the expectation, the answer, and why it matters."""

    def __init__(self, expected: str, came: str, why: str) -> None:
        super().__init__(f"expected: {expected}\ncame:     {came}\nmatters:  {why}")
        self.said = (("expected", expected), ("came", came), ("matters", why))


class Contract:
    """Checks of one part. A subclass names the part; pytest collects it if its name begins with `Test`.

    The first check tests the types of the part's answers; if one is wrong, the other checks are not meaningful.
    """

    part: ClassVar[Any]  # a class under @part, or an instance
    seconds: ClassVar[float] = 60.0  # that `hfbench check` gives a check
    data: ClassVar[str | None] = None  # for tasks: a folder looked at before HFBENCH_DATA and the user cache

    def built(self) -> Any:
        """The part; of a class, an instance with default settings."""
        return self.part() if isinstance(self.part, type) else self.part

    @classmethod
    def checks(cls) -> list[str]:
        """The names of the checks, in order of definition."""
        named = {name: None for base in reversed(cls.__mro__) for name in vars(base) if name.startswith("test_")}
        return list(named)


def require(holds: bool, expected: str, came: str, why: str) -> None:
    """Raises ContractBroken unless it holds."""
    if not holds:
        raise ContractBroken(expected, came, why)


def not_applicable(reason: str) -> NoReturn:
    """Ends a check that does not apply to this part; pytest shows it as skipped."""
    raise unittest.SkipTest(reason)


def seeded_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def largest_difference(a: Any, b: Any) -> float:
    """max |a - b| over two tensors or two sequences of them, relative to the largest entry of b (1 if b is zero)."""
    a, b = (flat([value] if isinstance(value, Tensor) else value) for value in (a, b))
    return float((a - b).abs().max()) / (float(b.abs().max()) or 1.0)


def flat(blocks: Sequence[Tensor]) -> Tensor:
    """All entries in a row, in float64."""
    return torch.cat([block.detach().double().reshape(-1) for block in blocks])


@contextmanager
def global_random_state_kept(
    why: str, expected: str = "random numbers from the generator that is handed over, and from no other"
) -> Iterator[None]:
    """Raises ContractBroken if the block draws from the global generator of torch, NumPy or Python."""
    before = _global_generators()
    yield
    used = [name for name, state in _global_generators().items() if state != before[name]]
    require(not used, expected, f"{' and '.join(used)} global generator was used", why)


def _global_generators() -> dict[str, Any]:
    """The states of generators that a process has one of."""
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 the very generator that no part may use
    return {
        "torch's": torch.get_rng_state().tolist(),
        "NumPy's": [part.tolist() if isinstance(part, np.ndarray) else part for part in numpy_state],
        "Python's": random.getstate(),
    }


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seeds torch's global generator inside the block, since layers draw from it at construction."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
