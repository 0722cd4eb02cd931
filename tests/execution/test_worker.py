"""Workers: each loads plugin files as they were, and costs one run where it dies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.plugin_files import PART, PLUGIN, study_with
from support.tiny_study import attempt, specs, tiny, trace_of, uninterrupted

from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.execution.pool import run_all
from hfbench.execution.worker import CHANGED, UNLOADED, _job_away
from hfbench.parts import plugin_files
from hfbench.records.results_folder import ResultsFolder
from hfbench.records.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("forgotten")


Write = Callable[..., Path]


def by_key(study: Study) -> dict[str, Any]:
    """The runs of the plugin's method."""
    return {spec.key(): spec for spec in runs_of(study) if spec.method.name == "steepest"}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (PLUGIN.replace("= 1.0", "= 0.5"), CHANGED),
        (
            PLUGIN + "\n1 / 0",
            f"{UNLOADED} ZeroDivisionError: division by zero (FILE:{(PLUGIN + '/').count(chr(10)) + 2})",
        ),
        (PART.replace("Steepest", "Other"), f"{UNLOADED} AttributeError: module 'NAME' has no attribute 'Steepest'"),
    ],
)
def test_a_plugin_file_changed_before_a_worker_loads_it_fails_its_runs_alone(
    write: Write, tmp_path: Path, text: str, outcome: str
) -> None:
    file = write("plugin.py")
    name = plugin_files.module_name(file)
    key, spec = next(iter(by_key(study_with(tmp_path, plugin_files=(file,))).items()))
    file.write_text(text)
    (result,) = run_all({key: spec}, ResultsFolder(tmp_path / "results", "tiny"), 2)
    said = outcome.replace("FILE", str(file)).replace("NAME", name)
    assert result["outcome"] == "failed"
    assert result["error"].startswith(said)
    assert RunFolder(tmp_path / "results", key).result() == result


def test_a_run_elsewhere_goes_on_from_the_shorter_run_that_is_sent_with_it(tmp_path: Path) -> None:
    small, large = (
        specs(tiny(tmp_path, "study.stop_at_target=false", f"study.budget.iterations={n}"))["hf", 0] for n in (3, 6)
    )
    attempt(small, tmp_path)
    shorter = RunFolder(tmp_path, small.key())
    setting = ResultsFolder(tmp_path / "nowhere", "tiny")
    _, contents = _job_away(large.key(), large, setting, [], {shorter.key: shorter.contents()}, shorter.key)
    RunFolder(tmp_path, large.key()).put(contents)
    clocks = [pd.read_parquet(RunFolder(tmp_path, spec.key()).trace_path)["seconds"] for spec in (small, large)]
    assert list(clocks[0]) == list(clocks[1][:4])
    pd.testing.assert_frame_equal(trace_of(large, tmp_path), uninterrupted(large, tmp_path / "whole"), check_exact=True)
