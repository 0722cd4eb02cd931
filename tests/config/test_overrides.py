"""`--set`: one value in the raw tables, and which of command and file is to blame for what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from hfbench.config.overrides import blaming, override
from hfbench.errors import ConfigError


@pytest.mark.parametrize(
    ("assignment", "tables"),
    [
        ("study.margin=1.2", {"study": {"margin": 1.2}}),
        ("study.question=Why not?", {"study": {"question": "Why not?"}}),
        ("study.seeds = [3, 5]", {"study": {"seeds": [3, 5]}}),
        ("study.question=a\nb = 1", {"study": {"question": "a\nb = 1"}}),  # one value, whatever it holds
    ],
)
def test_a_value_is_toml_or_else_text(assignment: str, tables: dict[str, Any]) -> None:
    raw: dict[str, Any] = {}
    override(raw, assignment)
    assert raw == tables


def test_a_setting_of_a_part_that_is_given_by_its_name_makes_a_table_of_it() -> None:
    raw: dict[str, Any] = {"methods": {"hf": {"scheduler": "fixed", "solver": "cg"}}}
    override(raw, "methods.hf.scheduler.gradient=0.5")
    assert raw["methods"]["hf"] == {"scheduler": {"use": "fixed", "gradient": 0.5}, "solver": "cg"}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("study.margin", "--set: must be key.path=value"),
        ("study..margin=1", "--set: must be key.path=value"),
        ("methods.fh.solver=cg", "methods.fh.solver: must name a method of the study, but got 'fh'"),
        ("study.margin.of=1", "study.margin.of: study.margin must be a table, but is 1.1."),
    ],
)
def test_what_cannot_be_set_is_refused(assignment: str, message: str) -> None:
    raw: dict[str, Any] = {"study": {"margin": 1.1}, "methods": {"hf": {}}}
    with pytest.raises(ConfigError, match="^" + message):
        override(raw, assignment)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("methods.hf.solver", "methods.hf.solver (from --set): wrong."),
        ("methods.hf.solver.reach", "methods.hf.solver.reach (from --set): wrong."),
        ("methods.hf", "methods.hf (from --set): wrong."),
        ("methods.hf.solvers", "a.toml: methods.hf.solvers: wrong."),
        ("methods.hf.scheduler.gradient", "a.toml with --set methods.hf.scheduler.use: "
         "methods.hf.scheduler.gradient: wrong."),
        ("--set", "--set: wrong."),
    ],
)  # fmt: skip
def test_a_mistake_is_blamed_on_the_command_where_it_came_from(key: str, message: str) -> None:
    with (
        pytest.raises(ConfigError) as caught,
        blaming("a.toml", ["methods.hf.solver", "methods.hf.scheduler.use"]),
    ):
        raise ConfigError(f"{key}: wrong.")
    assert str(caught.value) == message
