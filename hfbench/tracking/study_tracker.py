"""The place of a study in MLflow, opened for the runs that it asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.records.recorded_study import recorded_keys
from hfbench.records.study_home import home_of
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.params import study_params


def tracker_of(study: Study, specs: Mapping[str, RunSpec], results: Path, archive: str = "") -> Tracker:
    """The study's place in the MLflow store; runs other than `specs` leave its views.

    A variant of a study that was judged whole leaves the views as they are. `archive` names where the records come
    from, if not from `results`. Raises StoreError if the store cannot be opened.
    """
    speaks = home_of(study, results, archive).speaks_for_the_study
    tracker = Tracker(results, study.name, study_params(study, specs.values()), speaks=speaks)
    archives = sorted((Path(results) / "archives").glob("*"))
    tracker.select(specs, {key for folder in (results, *archives) for key in recorded_keys(folder)})
    return tracker
