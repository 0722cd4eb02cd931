"""Freezing: a run trained again changes nothing by it, and what cannot be frozen is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.frozen_zoo import zoo
from support.tiny_study import specs, tiny

from hfbench.errors import ConfigError
from hfbench.probe.freeze import frozen_systems


def test_capturing_changes_nothing_of_the_run() -> None:
    with_others, alone = zoo(method="shf")[2], next(frozen_systems(zoo(method="shf")[2].spec, [4]))
    assert with_others.seen == alone.seen
    assert all(torch.equal(with_others.model[name], block) for name, block in alone.model.items())


def test_a_run_that_ends_before_gives_the_systems_that_it_met(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path))["hf", 0]
    assert [one.iteration for one in frozen_systems(replace(spec, target=1e9), [1, 2, 3])] == [1]


def test_what_cannot_be_captured_is_refused(tmp_path: Path) -> None:
    extra = '\n[methods.adam]\noptimizer = "adam"\nscheduler = "fixed"\n'
    found = specs(tiny(tmp_path, extra=extra))
    with pytest.raises(ConfigError, match=r"methods.adam: .* this is a baseline"):
        list(frozen_systems(found["adam", 0], [1]))
    with pytest.raises(ConfigError, match="whole numbers from 1, but got \\[0\\]"):
        list(frozen_systems(found["hf", 0], [0]))
