"""The parent run of a study in MLflow, and the identity of its set of runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.params import study_params


def tracker_of(study: Study, specs: Mapping[str, RunSpec], results: Path) -> Tracker:
    """The study's place in the MLflow store. Raises StoreError if that cannot be opened."""
    params = study_params(study, specs.values())
    return Tracker(results, study.name, study_key(study, specs, params), params)


def study_key(study: Study, keys: Iterable[str], params: Mapping[str, str]) -> str:
    """The identity of a set of runs and of how they are judged.

    Another seed, setting or version of the code makes another one, and so does another margin, level or baseline.
    """
    identity = [study.name, sorted(keys), sorted(params.items())]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
