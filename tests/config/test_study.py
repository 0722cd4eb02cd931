"""A study as plain data: JSON keeps it unchanged, choices become lists."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from support.sweep_stand_ins import sweep
from support.tiny_study import tiny

from hfbench.config.study import Study, to_dict
from hfbench.parts.hyperparameters import Choice


def test_json_keeps_it_unchanged(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    plain = to_dict(study)
    assert json.loads(json.dumps(plain)) == plain
    assert set(plain) == set(Study.__dataclass_fields__)
    assert plain["seeds"] == [0, 1]
    assert plain["methods"]["shf"]["scheduler"]["use"] == "dynamic"
    assert plain["on"]["tiny-curves"]["methods"] == ["hf", "shf"]


def test_a_choice_is_the_list_of_its_values(tmp_path: Path) -> None:
    study = replace(tiny(tmp_path), sweeps=(sweep(parameters={"solver.kind": Choice("a", "b")}),))
    assert to_dict(study)["sweeps"][0]["parameters"] == {"solver.kind": ["a", "b"]}
