"""Measures by which methods are compared, and the limits of a budget. Each is declared here, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

AT_TARGET = "test_error_at_target"  # there is one where the validation error is held against the target


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number in a run's result; less is better.

    A cost to the target is the amount of `column` that a run had spent when it first reached the target; null if it did
    not, as is the test error there. Every run has the other measures at its end.
    """

    name: str  # field of a result
    title: str  # in a heading, with its unit
    noun: str  # after "needed 0.88x"
    short: str  # heading of a column
    label: str = ""  # axis of a figure, the title if not given
    verb: str = "needed"
    spent: str = ""  # of a cost: the field that says how much a whole run spent
    column: str = ""  # of a cost: the column of a trace that counts it
    per_case: bool = False  # whether the column counts cases, of which the cost is a share
    limit: str = ""  # the limit of a budget in the same unit, if there is one
    resolution: str = ""  # of a mean error: the field that says what one case with an error adds to it
    broken_is_worst: bool = False  # whether it is infinite for a run that its own method ended
    explored: bool = True  # whether reports show it where it is not what a study compares by

    @property
    def is_cost(self) -> bool:
        return self.spent != ""


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            name="work_to_target", title="work to target (passes)", noun="the work", short="work",
            spent="work", column="work", limit="passes",
        ),
        Measure(
            name="products_to_target", title="Gauss-Newton products to target", noun="the Gauss-Newton products",
            short="products", label="products to target", spent="products", column="products", limit="products",
        ),
        Measure(
            name="seconds_to_target", title="seconds to target", noun="the time", short="seconds",
            label="time to target (s)", spent="seconds", column="seconds", limit="seconds",
        ),
        Measure(
            name="distinct_to_target", title="distinct cases to target (passes)", noun="the distinct cases",
            short="distinct cases", spent="distinct", column="distinct_cases", per_case=True,
        ),
        Measure(
            name="final_test_error", title="final test error", noun="the test error", short="final test error",
            verb="ended with", resolution="test_resolution", broken_is_worst=True,
        ),
        Measure(
            name="final_validation_error", title="final validation error", noun="the validation error",
            short="final validation error", verb="ended with", resolution="validation_resolution", broken_is_worst=True,
            explored=False,
        ),
        Measure(
            name=AT_TARGET, title="test error at the target", noun="the test error", short="test error at target",
            verb="reached the target with", resolution="test_resolution",
        ),
        Measure(name="peak_memory", title="peak memory", noun="the memory", short="peak memory", verb="took"),
    )
}  # fmt: skip

# Where a run ends: the limits of a budget, and the columns of a trace that count towards them.
LIMITS: Mapping[str, str] = {
    "passes": "work", "seconds": "seconds", "products": "products", "iterations": "iteration",
}  # fmt: skip


def costs() -> dict[str, Measure]:
    """The measures that are costs to the target, by name."""
    return {name: measure for name, measure in MEASURES.items() if measure.is_cost}
