"""What is looked at before the first run: parts, data, models and devices."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch
from rich.console import Console
from support.tiny_study import (
    run_quietly,
    tiny,
    uses_mlflow,
)
from torch import nn

from hfbench.config.load import load_study
from hfbench.config.run_spec import RunSpec
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError, NonFiniteError, StoreError
from hfbench.execution import progress
from hfbench.execution.preflight import preflight
from hfbench.parts.protocols import Task
from hfbench.runs.build import build_model

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("methods.hf.scheduler.gradient=900", ConfigError, "200 training cases"),
        ("tasks.tiny-curves.cases=99999", ConfigError, r"tasks\.tiny-curves\.cases: must be at most"),
        (
            "tasks.tiny-curves.layers=[1000000000]",
            ConfigError,
            "fit into memory, but a tensor of 1000000000 x .* TB",
        ),
        (
            "study.targets.tiny-curves=90",
            ConfigError,
            r"targets\.tiny-curves: must lie below the validation error .*, 83\.99 for seed 0",
        ),
        (
            'methods.adam={optimizer={use="adam", minibatch=201}, scheduler="fixed"}',
            ConfigError,
            r"methods\.adam\.optimizer\.minibatch on task tiny-curves: must be at most the 200 cases",
        ),
        ('methods.hf.rules=[{use="backward-error"}]', ConfigError, r"methods\.hf: rule BackwardError reads"),
        ("study.name=tiny", StoreError, "must be writable"),
    ],
)
def test_bad_input_is_said_before_anything_is_written(
    tmp_path: Path, override: str, error: type[Exception], message: str
) -> None:
    study = tiny(tmp_path / "study", override)
    blocked = tmp_path / "file"
    blocked.write_text("")
    results = blocked / "results" if error is StoreError else tmp_path / "results"
    with pytest.raises(error, match=message):
        run_quietly(study, results)
    assert sorted(os.listdir(tmp_path)) == ["file", "study"]


def test_a_model_whose_outputs_are_not_finite_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfbench.runs.run.mean_error", lambda *of: float("nan"))
    with pytest.raises(NonFiniteError, match="finite outputs"):
        run_quietly(tiny(tmp_path), tmp_path / "results")
    assert not (tmp_path / "results").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_is_looked_for_before_data_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetched(*of: object) -> None:
        raise AssertionError("a file was fetched for a run that cannot be made")

    monkeypatch.setattr("hfbench.execution.preflight.locate", fetched)
    specs = runs_of(load_study("usps-first", overrides=["study.device=cuda"]))
    with pytest.raises(ConfigError, match="cuda must be a GPU that PyTorch finds here"):
        preflight(specs, str(tmp_path), Console(quiet=True))


METHOD = """
[methods.m{0}]
solver = "cg"
preconditioner = "martens"
scheduler = {{ use = "fixed", gradient = 0.{0}, curvature = 0.1 }}
"""


def test_the_weights_of_many_methods_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To make them is the longest of all that is checked: of six hundred methods it was 45 seconds."""
    made: list[str] = []

    def counted(task: Task, spec: RunSpec) -> nn.Module:
        made.append(spec.name)
        return build_model(task, spec)

    monkeypatch.setattr("hfbench.runs.run.build_model", counted)
    study = tiny(tmp_path, extra="".join(map(METHOD.format, range(1, 9))))
    preflight(runs_of(study), None, Console(quiet=True))
    assert made == ["hf/tiny-curves/s0"]
    wide = tiny(tmp_path, "methods.m8.scheduler.gradient=900", extra="".join(map(METHOD.format, range(1, 9))))
    with pytest.raises(ConfigError, match="m8"):
        preflight(runs_of(wide), None, Console(quiet=True))


def test_the_check_of_many_methods_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SILENT", 0.0)
    console = Console(record=True, file=io.StringIO(), width=80)
    preflight(runs_of(tiny(tmp_path, extra=METHOD.format(1))), None, console)
    assert console.export_text().splitlines() == ["checking the methods: 1 of 3", "checking the methods: 2 of 3"]


def test_methods_are_checked_in_a_process_where_their_runs_have_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a command of many runs need not load what runs need: PyTorch's compiler alone takes a second."""
    monkeypatch.setattr("hfbench.runs.run.build_model", None)
    preflight(runs_of(tiny(tmp_path)), None, Console(quiet=True), apart=True)
    with pytest.raises(ConfigError, match="200 training cases"):
        preflight(runs_of(tiny(tmp_path, "methods.hf.scheduler.gradient=900")), None, Console(quiet=True), apart=True)
