"""Recorded runs of other versions: which settings are the same."""

from typing import Any

import pytest
from support.tiny_study import uses_mlflow

from hfbench.records.recorded_study import same_settings

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


def test_settings_that_came_later_had_their_defaults_before() -> None:
    now: dict[str, Any] = {
        "seed": 1,
        "method": {"solver": "cg", "max_bytes": None, "precision": "parameters"},
        "follows": "a",
    }
    then = {"seed": 1, "method": {"solver": "cg"}, "follows": "b"}
    assert same_settings(then, now)
    assert not same_settings(then, now | {"method": now["method"] | {"precision": "bfloat16"}})
    assert not same_settings(then, now | {"seed": 2})
    assert not same_settings(None, now)
