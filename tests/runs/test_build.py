"""Builders of a run: what depends on the seed alone, on the method's stream, and on the precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_study import specs, tiny

from hfbench.config.run_spec import RunSpec
from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Split, TaskData
from hfbench.runs.build import begin_schedule, build_model, build_task, check_plan, load_data, stream
from hfbench.tasks.curves import CurvesSmall


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    return specs(tiny(tmp_path))["hf", 0]


def test_methods_of_a_seed_have_the_same_data_and_weights(tmp_path: Path) -> None:
    known = specs(tiny(tmp_path))
    weights, inputs = {}, {}
    for run, spec in known.items():
        weights[run] = torch.cat([p.detach().flatten() for p in build_model(build_task(spec), spec).parameters()])
        inputs[run] = load_data(spec).train.inputs
    for seed in (0, 1):
        assert torch.equal(weights["hf", seed], weights["shf", seed])
        assert torch.equal(inputs["hf", seed], inputs["shf", seed])
    assert not torch.equal(weights["hf", 0], weights["hf", 1])
    assert not torch.equal(inputs["hf", 0], inputs["hf", 1])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_data_and_model_have_the_runs_precision(spec: RunSpec, precision: str) -> None:
    spec = replace(spec, precision=precision)
    loaded, model = load_data(spec), build_model(build_task(spec), spec)
    dtypes = {loaded.train.inputs.dtype, loaded.test.targets.dtype, *(p.dtype for p in model.parameters())}
    assert dtypes == {getattr(torch, precision)}
    assert loaded.train.targets is loaded.train.inputs, "a picture that is its own target is held once"


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_task_without_cases_of_a_split_is_refused(spec: RunSpec, split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    load = CurvesSmall.load

    def without(self: CurvesSmall, generator: torch.Generator, data: str | None = None) -> TaskData:
        return replace(load(self, generator, data), **{split: Split(torch.zeros(0, 256), torch.zeros(0, 256))})

    monkeypatch.setattr(CurvesSmall, "load", without)
    with pytest.raises(ConfigError, match=rf"^tasks\.tiny-curves: .* for validation .* none in {split}\. Set some"):
        load_data(spec)


def test_a_stream_is_the_methods_own_where_it_says_so(spec: RunSpec) -> None:
    assert stream(spec, "probes") == "probes"
    assert stream(replace(spec, method=replace(spec.method, stream="b")), "probes") == "probes/b"


def test_recorded_batches_take_the_place_of_a_scheduler(spec: RunSpec) -> None:
    recorded = [BatchPlan(30, 10, "cyclic", ""), BatchPlan(40, 20, "given", "")]
    assert begin_schedule(spec, 150, recorded)[0].plan == recorded[0]
    assert begin_schedule(spec, 150)[0].plan.gradient == 150


@pytest.mark.parametrize(("gradient", "curvature", "which"), [(151, 10, "gradient"), (10, 151, "curvature")])
def test_a_batch_that_the_task_has_no_cases_for_is_refused(
    spec: RunSpec, gradient: int, curvature: int, which: str
) -> None:
    check_plan(BatchPlan(150, 150, "cyclic", ""), 150, spec)
    message = f"methods.hf.scheduler on task tiny-curves: a {which} batch must have 1 to 150 cases"
    with pytest.raises(ConfigError, match=message):
        check_plan(BatchPlan(gradient, curvature, "cyclic", ""), 150, spec)
