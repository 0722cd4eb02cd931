"""Backtracking: the kept iterates, and the choice among them."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hfbench.hessian_free.globalization import Objective
from hfbench.parts.protocols import SolverState


def kept_indices(start: int = 5, growth: float = 1.3) -> Iterator[int]:
    """i = ceil(start·growth^j) in order, each once, as far as floats go: the iterates that backtracking may return to.

    The grid is Martens' (2010), section 4.6, and his code's: 5, 7, 9, 11, 15, 19, …
    """
    position, last = float(start), -1
    while position < math.inf:
        index = math.ceil(position)
        if index > last:
            yield index
        position, last = position * growth, index


class KeptIterates:
    """Recorder of the iterates at the kept indices, and always of the last."""

    def __init__(self, start: int = 5, growth: float = 1.3) -> None:
        self._indices = kept_indices(start, growth)
        self._next = next(self._indices)
        self._kept: list[SolverState] = []
        self._last: SolverState | None = None

    def __call__(self, state: SolverState) -> None:
        self._last = state
        if state.k == self._next:
            self._kept.append(state)
            self._next = next(self._indices)

    @property
    def states(self) -> list[SolverState]:
        """The kept states in order, the last one at the end; a state 0 only if it is the last."""
        last = [] if self._last is None or (self._kept and self._kept[-1] is self._last) else [self._last]
        return self._kept + last


def backtrack(states: list[SolverState], f: Objective) -> tuple[SolverState, float]:
    """The state chosen among the kept ones, and f(w + x) there.

    Goes down from the last one while the objective of the lower iterate is not larger; Martens (2010), section 4.6. An
    iterate whose objective is not finite is always passed over. States are removed from the list as they are passed,
    which frees them.
    """
    chosen = states.pop()
    best = f(chosen.x)
    while states:
        state = states.pop()
        value = f(state.x)
        if math.isfinite(best) and not (math.isfinite(value) and value <= best):
            break
        chosen, best = state, value
    return chosen, best
