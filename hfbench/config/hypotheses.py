"""`[hypotheses.<name>]`: claims about one method against another, by one measure, declared before the runs.

Each hypothesis is judged on every task that runs both methods. All of them form one family of tests, separate from
the comparisons with the baseline.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from hfbench.config.measures import AT_TARGET, MEASURES
from hfbench.config.table_checks import check_known
from hfbench.errors import ConfigError
from hfbench.parts import hyperparameters
from hfbench.parts.hyperparameters import Choice, part

EXPECTATIONS = ("better", "not-worse", "equivalent")


@dataclass(frozen=True)
class Hypothesis:
    """The claim that `method` is better than, not worse than, or equivalent to `against` by `measure`."""

    name: str
    says: str  # the claim in words
    method: str
    against: str
    measure: str
    expects: str


@part
class _HypothesisTable:
    says: Annotated[str, "the claim in words"] = ""
    method: Annotated[str, "the method it is about"]
    against: Annotated[str | None, "the method it is compared with, the baseline if not given"] = None
    measure: Annotated[str, Choice(*MEASURES), "the measure they are compared by, lower being better"]
    expects: Annotated[str, Choice(*EXPECTATIONS), "the relation that is claimed"] = "better"


def hypotheses(
    tables: Mapping[str, dict[str, Any]], methods: Mapping[str, Any], baseline: str, target_on: str
) -> tuple[Hypothesis, ...]:
    """The checked hypotheses of a study file. Raises ConfigError with the key path of an error."""
    found: dict[tuple[str, ...], Hypothesis] = {}
    for name, table in tables.items():
        hypothesis = _hypothesis(name, table, methods, baseline)
        if hypothesis.measure == AT_TARGET and target_on == "test":
            raise ConfigError(
                f'hypotheses.{name}.measure: must not be {AT_TARGET} where study.target_on is "test": the test error '
                "at the target is then the target."
            )
        claim = (hypothesis.method, hypothesis.against, hypothesis.measure, hypothesis.expects)
        if claim in found:
            raise ConfigError(
                f"hypotheses.{name}: must differ from hypotheses.{found[claim].name}, but makes the same claim: every "
                "claim more asks for more seeds."
            )
        found[claim] = hypothesis
    return tuple(found.values())


def _hypothesis(name: str, table: dict[str, Any], methods: Mapping[str, Any], baseline: str) -> Hypothesis:
    where = f"hypotheses.{name}"
    given = hyperparameters.build_part(_HypothesisTable, table, where)
    against = baseline if given.against is None else given.against
    check_known(given.method, methods, f"{where}.method", "method")
    check_known(against, methods, f"{where}.against", "method")
    if given.method == against:
        raise ConfigError(f"{where}.against: must differ from the method {given.method}.")
    without = [name for name in (given.method, against) if methods[name].optimizer is not None]
    if given.measure == "products_to_target" and without:
        raise ConfigError(
            f"{where}.measure: {without[0]} needs no Gauss-Newton products; take work_to_target or seconds_to_target."
        )
    return Hypothesis(name, given.says, given.method, against, given.measure, given.expects)
