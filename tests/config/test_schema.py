"""The JSON schema of study files, applied by a validator that we did not write."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator
from importlib import resources
from typing import Annotated, Any, ClassVar

import pytest
from jsonschema import Draft7Validator

from hfbench.config.load import shipped_studies
from hfbench.config.schema import study_schema, table_schema
from hfbench.parts import Within, part, registry

FILE = """
[study]
name = "mine"
tasks = ["small", "usps"]
seeds = [3, 4]
budget = { passes = 10 }
baseline = "hf"
[tasks.small]
use = "curves-small"
cases = 100
[methods.hf]
solver = "cg"
preconditioner = { use = "martens", exponent = 0.5 }
scheduler = { use = "fixed", curvature = 0.25 }
rules = ["relative-progress", { use = "fixed-iterations", iterations = 3 }]
globalization = { warm_start = 0.9 }
[methods.muon]
optimizer = { use = "torch", class = "torch.optim.Muon", settings = { lr = 1e-2 }, schedule = "cosine" }
scheduler = "fixed"
[on.usps]
methods = ["hf", "muon"]
[hypotheses.h]
method = "muon"
measure = "work_to_target"
[sweep]
method = "hf"
[sweep.parameters]
scheduler.curvature = { low = 0.1, high = 1.0 }
"""


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    schema = study_schema()
    Draft7Validator.check_schema(schema)
    return Draft7Validator(json.loads(json.dumps(schema)))


def shipped() -> Iterator[Any]:
    for name in shipped_studies():
        yield pytest.param((resources.files("hfbench.studies") / f"{name}.toml").read_text("utf-8"), id=name)


@pytest.mark.parametrize("text", [*shipped(), pytest.param(FILE, id="mine")])
def test_a_study_that_can_be_read_fits(validator: Draft7Validator, text: str) -> None:
    assert [error.message for error in validator.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        ('name = "mine"', "name = 3", "study/name"),
        ('name = "mine"', "", "study"),
        ("seeds = [3, 4]", 'seeds = "3"', "study/seeds"),
        ("seeds = [3, 4]", "sedes = [3, 4]", "study"),
        ("passes = 10", "passes = 0", "study/budget/passes"),
        ("passes = 10", "passes = 10, days = 3", "study/budget"),
        ('solver = "cg"', 'solver = "gc"', "methods/hf/solver"),
        ('solver = "cg"', 'sovler = "cg"', "methods/hf"),
        ("exponent = 0.5", 'exponent = "half"', "methods/hf/preconditioner"),
        ("curvature = 0.25", "curvature = -1", "methods/hf/scheduler"),
        ("iterations = 3", "iterations = 0", "methods/hf/rules/1"),
        ("warm_start = 0.9", "warm_start = true", "methods/hf/globalization/warm_start"),
        ('schedule = "cosine"', 'schedule = "cos"', "methods/muon/optimizer"),
        ('use = "curves-small"', 'use = "curve"', "tasks/small"),
        ('measure = "work_to_target"', 'measure = "speed"', "hypotheses/h/measure"),
        ("[study]", "[studdy]\nx = 1\n[study]", ""),
        ("[sweep]\n", "[sweep]\npasses = 0\n", "sweep/passes"),
        ("[sweep]\n", "[sweep]\nmethods = 'hf'\n", "sweep/methods"),
    ],
)
def test_a_mistake_is_found_where_it_stands(validator: Draft7Validator, before: str, after: str, where: str) -> None:
    assert before in FILE
    errors = list(validator.iter_errors(tomllib.loads(FILE.replace(before, after, 1))))
    assert where in {"/".join(map(str, error.absolute_path)) for error in errors}


def test_every_part_is_known() -> None:
    definitions = study_schema()["definitions"]
    for family in ("optimizer", "solver", "preconditioner", "scheduler", "rule", "task"):
        assert definitions[family]["anyOf"][0]["enum"] == sorted(registry.names(family))
    lsmr = next(part for part in definitions["solver"]["anyOf"][1:] if part["properties"]["use"]["const"] == "lsmr")
    assert lsmr["additionalProperties"] is False
    cases = next(part for part in definitions["task table"]["anyOf"] if part["properties"]["use"]["const"] == "curves")
    assert cases["properties"]["cases"]["description"]


def test_a_part_of_a_plugin_file_is_known_too() -> None:
    @part
    class Halving:
        """A scheduler of a plugin file."""

        share: Annotated[float, Within("(0, 1]"), "share of the cases"] = 0.5
        needs: ClassVar[tuple[str, ...]] = ()

        def begin(self, total: int) -> Any: ...

    with registry.temporary("scheduler", "halving", Halving):
        found = study_schema()["definitions"]["scheduler"]["anyOf"]
    assert "halving" in found[0]["enum"]
    mine = next(entry for entry in found[1:] if entry["properties"]["use"]["const"] == "halving")
    assert mine["properties"]["share"] == {
        "type": "number", "exclusiveMinimum": 0.0, "maximum": 1.0, "description": "share of the cases", "default": 0.5,
    }  # fmt: skip


def test_a_default_without_end_is_left_out_of_the_schema() -> None:
    """JSON has no word for it."""

    @part
    class Endless:
        a: Annotated[float, Within("(0, inf]")] = math.inf

    assert table_schema(Endless)["properties"] == {"a": {"type": "number", "exclusiveMinimum": 0.0}}
