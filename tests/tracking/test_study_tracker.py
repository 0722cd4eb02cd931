"""The key that a study is known by in MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_study import (
    tiny,
    uses_mlflow,
)

from hfbench.config.study_runs import runs_of
from hfbench.tracking.params import study_params
from hfbench.tracking.study_tracker import study_key

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def test_a_study_is_known_by_its_runs_and_how_they_are_judged(tmp_path: Path) -> None:
    def key(*overrides: str) -> str:
        study = tiny(tmp_path, *overrides)
        runs = runs_of(study)
        return study_key(study, [spec.key() for spec in runs], study_params(study, runs))

    changes = ("margin=1.3", "alpha=0.1", "baseline=shf", "seeds=3", "question=Why?", "primary=products_to_target")
    assert key() == key()
    assert len({key(), *(key(f"study.{change}") for change in changes)}) == 1 + len(changes)
