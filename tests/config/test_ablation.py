"""Methods between two ends: every design, every kind of factor, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from hfbench.config.ablation import Ablation, AblationTable, expand
from hfbench.config.load import load_study
from hfbench.config.methods import Method
from hfbench.errors import ConfigError

STUDY = """
[study]
name = "ends"
tasks = ["curves-small"]
seeds = 7
baseline = "hf"

[methods.hf]
solver = "cg"
preconditioner = "martens"
scheduler = "fixed"

[methods.new]
solver = "lsmr"
preconditioner = "chapelle-erhan"
scheduler = "fixed"
globalization = { line_search = false }
"""
THREE = ["solver", "preconditioner", "globalization.line_search"]


@pytest.fixture
def ends(tmp_path: Path) -> dict[str, Method]:
    file = tmp_path / "ends.toml"
    file.write_text(STUDY)
    return load_study(str(file)).methods


def table(factors: list[Any] = THREE, design: str = "factorial", **ends: str) -> AblationTable:
    return AblationTable(**{"from_": "hf", "to": "new", "factors": factors, "design": design, **ends})


def levels_as_found(methods: dict[str, Method], ablation: Ablation) -> dict[str, tuple[int, ...]]:
    """The levels read back from the methods' settings."""
    return {
        name: (
            int(method.solver["use"] == "lsmr"),
            int(method.preconditioner["use"] == "chapelle-erhan"),
            int(not method.globalization["line_search"]),
        )
        for name, method in methods.items()
    }


def test_factorial_has_every_combination_once(ends: dict[str, Method]) -> None:
    methods, ablation = expand(table(), ends)
    assert sorted(ablation.levels.values()) == sorted(product((0, 1), repeat=3))
    assert levels_as_found(methods, ablation) == ablation.levels
    assert methods["hf"] == ends["hf"]
    assert methods["new"] == ends["new"]
    assert list(methods) == [
        "hf", "hf_line-search-off", "hf_chapelle-erhan", "hf_chapelle-erhan_line-search-off", "hf_lsmr",
        "hf_lsmr_line-search-off", "hf_lsmr_chapelle-erhan", "new",
    ]  # fmt: skip
    assert all(method.name == name for name, method in methods.items())
    assert ablation.values["globalization.line_search"] == ("on", "off")
    assert ablation.values["preconditioner"] == ("martens", "chapelle-erhan")


def test_add_one_departs_from_the_baseline(ends: dict[str, Method]) -> None:
    methods, ablation = expand(table(design="add-one"), ends)
    assert list(methods) == ["hf", "hf_lsmr", "hf_chapelle-erhan", "hf_line-search-off"]
    assert levels_as_found(methods, ablation) == ablation.levels
    assert [sum(levels) for levels in ablation.levels.values()] == [0, 1, 1, 1]


def test_leave_one_out_departs_from_the_full_method(ends: dict[str, Method]) -> None:
    methods, ablation = expand(table(design="leave-one-out"), ends)
    assert list(methods) == ["new", "new_cg", "new_martens", "new_line-search-on"]
    assert levels_as_found(methods, ablation) == ablation.levels
    assert [sum(levels) for levels in ablation.levels.values()] == [3, 2, 2, 2]


def test_one_factor_of_add_one_is_the_other_end(ends: dict[str, Method]) -> None:
    new = replace(ends["hf"], name="new", solver={"use": "lsmr"})
    methods, _ = expand(table(["solver"], "add-one"), {"hf": ends["hf"], "new": new})
    assert list(methods) == ["hf", "new"]


def test_one_part_with_two_settings_is_told_apart(ends: dict[str, Method]) -> None:
    new = replace(ends["hf"], name="new", preconditioner={"use": "martens", "exponent": 1.0})
    _, ablation = expand(table(["preconditioner"]), {"hf": ends["hf"], "new": new})
    assert ablation.values == {"preconditioner": ("martens (exponent 0.75)", "martens (exponent 1)")}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (table(to="nwe"), "ablation.to: must name a method of the study, but got 'nwe' .did you mean 'new'"),
        (table([]), "must be 1 to 6 key paths, but got 0"),
        (table(["scheduler"]), "scheduler is fixed in both hf and new"),
        (table(["scheduler.theta"]), "must exist in both ends, but methods.hf.scheduler has no 'theta'"),
        (table(["solvr"]), "methods.hf has no 'solvr'.*solver"),
        (table(["solver", "preconditioner"]), "also differ in globalization.line_search"),
        (table([*THREE, "preconditioner.exponent"]), "preconditioner and preconditioner.exponent overlap"),
        (table([*THREE, "solver"]), "solver and solver overlap"),
        (table([*THREE, 3]), "must be key paths of a method's table, but got 3"),
    ],
)
def test_refused(ends: dict[str, Method], given: AblationTable, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        expand(given, ends)


def test_a_name_already_taken_is_refused(ends: dict[str, Method]) -> None:
    with pytest.raises(ConfigError, match="two methods would be called 'hf_lsmr'"):
        expand(table(), {**ends, "hf_lsmr": ends["hf"]})
