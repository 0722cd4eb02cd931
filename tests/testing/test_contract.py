"""Every check of every contract catches the mistakes it is there for, by name, and lets what is right through."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from faulty import honest, optimizers, preconditioners, rules, schedulers, solvers, tasks

from hfbench import testing
from hfbench.commands.check import BROKEN, NOT_RUN, SKIPPED, Outcome, outcomes_of
from hfbench.testing import CONTRACTS

FAMILIES = {
    "solver": solvers,
    "preconditioner": preconditioners,
    "scheduler": schedulers,
    "task": tasks,
    "rule": rules,
    "optimizer": optimizers,
}


def classes(module: ModuleType) -> list[type[Any]]:
    return [one for one in vars(module).values() if inspect.isclass(one) and one.__module__ == module.__name__]


def faults(family: str) -> list[type[Any]]:
    return [one for one in classes(FAMILIES[family]) if hasattr(one, "caught_by")]


FAULTS = [pytest.param(family, one, id=f"{family}-{one.__name__}") for family in FAMILIES for one in faults(family)]
HONEST = [
    *((family, one) for family, module in FAMILIES.items() for one in classes(module) if one.__name__[:6] == "Honest"),
    ("solver", honest.Chebyshev),
    ("solver", honest.HeavyBall),
    ("preconditioner", honest.Kronecker),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data folder with a file that is not what its checksum says, and one that is."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "points").mkdir()
    (folder / "points" / "damaged.txt").write_text("0 0\n")
    (folder / "points" / "scale.txt").write_text("2")
    return str(folder)


def outcomes(family: str, part: type[Any], data: str | None = None) -> dict[str, Outcome]:
    return {outcome.check: outcome for outcome in outcomes_of(family, part, data)}


@pytest.mark.parametrize(("family", "part"), FAULTS)
def test_a_mistake_is_caught_by_the_check_for_it(family: str, part: type[Any], data: str) -> None:
    outcome = next(one for one in outcomes_of(family, part, data, [part.caught_by]))
    assert outcome.result == BROKEN
    said = dict(outcome.said)
    assert list(said) == ["expected", "came", "matters"]
    assert all(text.strip() for text in said.values())
    assert part.says in f"{said['expected']} but {said['came']}"


@pytest.mark.parametrize(
    ("family", "part"), [one for one in FAULTS if one.values[1].caught_by == CONTRACTS[one.values[0]].checks()[0]]
)
def test_an_answer_of_another_kind_makes_no_check_stumble(family: str, part: type[Any], data: str) -> None:
    """pytest runs every check, whatever the first one finds: none may end in an exception of the contract's own."""
    first, *rest = CONTRACTS[family].checks()
    for outcome in outcomes_of(family, part, data, rest):
        assert str(Path(testing.__file__).parent) not in dict(outcome.said).get("came", ""), outcome
    told, not_run = outcomes_of(family, part, data)
    assert (told.check, told.result, not_run.result) == (first, BROKEN, NOT_RUN)
    assert not_run.words == f"the other {len(rest)} checks, until this one holds"


@pytest.mark.parametrize("family", FAMILIES)
def test_every_check_has_a_mistake_that_it_catches(family: str) -> None:
    assert {one.caught_by for one in faults(family)} == set(CONTRACTS[family].checks())
    assert set(CONTRACTS) == set(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_mistake_is_told(family: str) -> None:
    told = [one.__doc__ for one in faults(family)]
    assert all(told)
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(("family", "part"), HONEST)
def test_nothing_is_found_where_nothing_is_wrong(family: str, part: type[Any], data: str) -> None:
    found = outcomes(family, part, data)
    assert [one for one in found.values() if one.result == BROKEN] == []
    assert list(found) == CONTRACTS[family].checks()


@pytest.mark.parametrize(
    ("family", "part", "check"),
    [
        ("solver", honest.Chebyshev, "test_keeps_its_monotone_quantity"),
        ("rule", rules.HonestOfOneSolver, "test_says_what_it_reads"),
        ("task", tasks.HonestClasses, "test_its_files_are_checked"),
    ],
)
def test_a_check_that_says_nothing_of_a_part_is_skipped(family: str, part: type[Any], check: str) -> None:
    (outcome,) = outcomes_of(family, part, checks=[check])
    assert outcome.result == SKIPPED
    assert dict(outcome.said)["because"]


def test_checks_leave_torch_s_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    for family, part in (("task", tasks.InitialisedByTorch), ("task", tasks.OneSeed), ("optimizer", optimizers.Climbs)):
        outcomes(family, part)
    assert torch.equal(torch.get_rng_state(), before)
