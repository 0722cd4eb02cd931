"""One preconditioner on one frozen system: condition, iterations and cost.

All is in float64, so that differences come from the preconditioner and not from rounding. The solves start from zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from hfbench.curvature.linearisation import Linearisation
from hfbench.inner_solve.solve import solve
from hfbench.linalg.lanczos import ritz_values
from hfbench.parts import registry
from hfbench.parts.hyperparameters import settings_of
from hfbench.parts.protocols import BuiltPreconditioner, Preconditioner, SolverState, Stop
from hfbench.probe.frozen_system import OpenedSystem
from hfbench.probe.judge import Judge
from hfbench.probe.part_errors import parts_named
from hfbench.runs.random_streams import generator

Row = dict[str, Any]
STEPS = 40  # of the Lanczos process
GAPS = (1e-1, 1e-2, 1e-4)  # 1 - q/q* to come to
VARIED = ("probes", "exponent")  # settings that are varied
PER_PRODUCT = 4  # units of work of a product per case: J v and Jᵀu


@dataclass(frozen=True)
class Variant:
    """A preconditioner to try: its settings, and its age in iterations."""

    settings: tuple[tuple[str, Any], ...]
    kind: str = "preconditioner"  # or what is varied: "probes", "exponent", "age"
    value: float = 0.0  # of what is varied

    @property
    def base(self) -> str:
        return str(dict(self.settings)["use"])

    def setting(self, name: str) -> float | None:
        """The value of a setting, given or by default; None if the preconditioner has no such setting."""
        value = settings_of(registry.build("preconditioner", dict(self.settings))).get(name)
        return None if value is None else float(value)

    @property
    def name(self) -> str:
        if self.kind == "preconditioner":
            return self.base
        said = {"probes": f"{self.value:g} probes", "exponent": f"^{self.value:g}", "age": f"{self.value:g} old"}
        return f"{self.base} {said[self.kind]}"


def conditioned(judge: Judge, variant: Variant, built_on: OpenedSystem, solver: str, most: int) -> Row:
    """Effect of the variant, built on the weights and cases of `built_on`, on the judge's system.

    `build` is in units of work per case. Raises ConfigError if it does not take the model.
    """
    with parts_named([("preconditioner", variant.base), ("solver", solver), *judge.opened.spec.used()]):
        return _conditioned(judge, variant, built_on, solver, most)


def _conditioned(judge: Judge, variant: Variant, built_on: OpenedSystem, solver: str, most: int) -> Row:
    M, build = _built(judge, variant, built_on)
    system, g = judge.system, judge.g
    start = M.solve_factor(g)
    values = ritz_values(lambda v: M.solve_factor(system.multiply(M.solve_factor_t(v))), start, STEPS)
    found: Row = {
        "variant": variant.name,
        "base": variant.base,
        "kind": variant.kind,
        "value": variant.value,
        **{name: variant.setting(name) for name in VARIED},
        "build": build,
        "smallest": float(values[0]),
        "largest": float(values[-1]),
        "condition": float(values[-1] / values[0]),
    }
    return found | _iterations(judge, M, solver, most)


def _built(judge: Judge, variant: Variant, on: OpenedSystem) -> tuple[BuiltPreconditioner, float]:
    part: Preconditioner = registry.build("preconditioner", dict(variant.settings))
    batch = on.batch if part.cases == "gradient" or on.curvature is None else on.curvature
    at = Linearisation(on.model, on.task.loss, *batch)
    before = at.ledger.work
    M = part.build(at, judge.system.shift, generator(0, "probes"))
    return M, (at.ledger.work - before) / at.n


def _iterations(judge: Judge, M: BuiltPreconditioner, solver: str, most: int) -> Row:
    """The k at which q first comes within each gap of q*, and at which the rule stops; None if it never does."""
    exact = judge.exact
    assert exact is not None
    found: Row = dict.fromkeys([f"to_{gap:g}" for gap in GAPS])
    found["stops"] = None
    test = registry.build("rule", "relative-progress").begin()

    def look(state: SolverState) -> None:
        gap = (state.q - exact.q) / -exact.q
        for least in GAPS:
            if found[f"to_{least:g}"] is None and gap <= least:
                found[f"to_{least:g}"] = state.k
        if found["stops"] is None and test(state) is not None:
            found["stops"] = state.k

    solve(registry.build("solver", solver), judge.system, None, M, [_Enough(found)], [look], most)
    return found


class _Enough:
    """A rule that ends the solve once all results are known."""

    needs: ClassVar[tuple[str, ...]] = ("k",)

    def __init__(self, found: Row) -> None:
        self.found = found

    def begin(self) -> Callable[[Any], Stop | None]:
        return lambda state: None if None in self.found.values() else Stop.FIXED_ITERATIONS


def units(row: Row, gap: float) -> float | None:
    """Units of work per case until the gap: those of the build, and four for each product."""
    k = row[f"to_{gap:g}"]
    return None if k is None else row["build"] + PER_PRODUCT * k
