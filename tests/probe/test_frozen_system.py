"""Frozen systems: they replay to the bit in another process, and what is not the system is refused."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.frozen_zoo import zoo
from support.tiny_study import attempt, specs, tiny, trace_of

from hfbench.errors import ConfigError, StoreError
from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import MAGIC, FrozenSystem, read_system

KFAC = "methods.shf.preconditioner={use='kfac',memory=0.9}"


# ---------------------------------------------------------------- replay

REPLAY = """
import json, sys, torch
from hfbench.runs.attempt import single_threaded
from hfbench.probe.frozen_system import read_system
with single_threaded():
    opened = read_system(sys.argv[1]).open()
    assert opened.seen() == opened.frozen.seen, "not the same bits"
    row = opened.optimizer.step(*opened.batch, opened.curvature).to_row()
print(json.dumps(row))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("method", "overrides"), [("hf", ()), ("shf", ()), ("shf", (KFAC,))])
def test_a_system_replays_bit_for_bit_in_another_process(
    tmp_path: Path, method: str, overrides: tuple[str, ...]
) -> None:
    spec = specs(tiny(tmp_path, "study.stop_at_target=false", *overrides))[method, 0]
    attempt(spec, tmp_path)
    trace = trace_of(spec, tmp_path)
    for frozen in frozen_systems(spec, [1, 3]):
        path = frozen.save(tmp_path / "one.system")
        done = subprocess.run(
            [sys.executable, "-c", REPLAY, str(path)], capture_output=True, text=True, check=True, env=dict(os.environ)
        )
        replayed, recorded = json.loads(done.stdout), trace.iloc[frozen.iteration]
        for name in ("gradient_norm", "damping", "rho", "inner_iterations", "chosen_iterate", "step_length", "q"):
            assert replayed[name] == recorded[name], name


def test_with_other_threads_it_replays_to_rounding(tmp_path: Path) -> None:
    """As on another machine: sums are taken in another order."""
    frozen = zoo(method="shf")[2]
    plain, posed = frozen.seen, None
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        posed = frozen.open().seen()
    finally:
        torch.set_num_threads(threads)
    assert posed["objective"] == pytest.approx(plain["objective"], rel=1e-6)
    assert posed["gradient_norm"] == pytest.approx(plain["gradient_norm"], rel=1e-5)


@pytest.mark.parametrize("overrides", [(), (KFAC,)])
def test_posing_a_system_changes_nothing(overrides: tuple[str, ...]) -> None:
    frozen = zoo(*overrides, method="shf")[1]
    asked, alone = frozen.open(), frozen.open()
    posed, warm = asked.system_at()
    again, _ = asked.system_at()
    v = posed.system.gradient
    assert all(
        torch.equal(a, b) for a, b in zip(posed.preconditioner.solve(v), again.preconditioner.solve(v), strict=True)
    )
    assert warm is not None
    steps = [one.optimizer.step(*one.batch, one.curvature).to_row() for one in (asked, alone)]
    assert {**steps[0], "predicted_memory": 0} == {**steps[1], "predicted_memory": 0}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    frozen = zoo()[1]
    again = read_system(frozen.save(tmp_path / "one.system"))
    assert again.spec.key() == frozen.spec.key()
    assert (again.iteration, again.damping, again.met) == (2, frozen.damping, frozen.damping)
    assert again.seen == frozen.seen
    assert again.data == frozen.data
    assert all(torch.equal(again.model[name], block) for name, block in frozen.model.items())
    assert torch.equal(again.gradient_cases, frozen.gradient_cases)
    assert again.curvature_cases is not None
    assert len(again.curvature_cases) == len(frozen.gradient_cases) // 4


def test_the_step_before_is_kept() -> None:
    first, second, fourth = zoo()
    assert first.previous_step is None
    step = second.previous_step
    assert step is not None
    for name, block in zip(first.model, step, strict=True):
        assert torch.equal(second.model[name] - first.model[name], block)
    assert fourth.previous_step is not None
    assert not torch.equal(fourth.previous_step[0], step[0])


def test_in_float64_it_is_the_same_system_to_rounding() -> None:
    frozen = zoo()[1]
    wide = frozen.open(precision="float64").system_at()[0]
    assert wide.f_0 == pytest.approx(frozen.seen["objective"], rel=1e-6)
    assert wide.system.gradient[0].dtype == torch.float64
    assert wide.evidence["gradient_norm"] == pytest.approx(frozen.seen["gradient_norm"], rel=1e-5)


def test_lambda_can_be_another() -> None:
    frozen = zoo()[1]
    damped = frozen.damped(0.01)
    assert damped.name == "hf-tiny-curves-s0-i2-lambda-x0.01"
    posed, plain = damped.open().system_at()[0], frozen.open().system_at()[0]
    assert posed.system.damping == 0.01 * plain.system.damping
    assert torch.equal(posed.system.gradient[0], plain.system.gradient[0])
    v = plain.system.gradient
    difference = (plain.system.multiply(v) - posed.system.multiply(v)) - v * (0.99 * plain.system.damping)
    assert difference.norm() < 1e-5 * plain.system.multiply(v).norm()
    with pytest.raises(ConfigError, match=r"factor must lie in \(0, inf\), but got 0"):
        frozen.damped(0)


def test_parts_can_be_others() -> None:
    frozen = zoo(KFAC, method="shf")[1]
    assert frozen.optimizer["param_groups"][0]["preconditioner"]
    opened = frozen.open(preconditioner={"use": "identity"}, products="float64")
    assert opened.optimizer.preconditioning.state_dict() == {}
    assert opened.system_at()[0].system.linearisation.precision.name == "float64"


# ---------------------------------------------------------------- what is not the system


@pytest.mark.parametrize("where", [len(MAGIC) + 3, len(MAGIC) + 64, len(MAGIC) + 200, -1])
def test_a_flipped_byte_is_refused(tmp_path: Path, where: int) -> None:
    path = zoo()[0].save(tmp_path / "one.system")
    held = bytearray(path.read_bytes())
    held[where] ^= 1
    path.write_bytes(bytes(held))
    with pytest.raises(StoreError, match=r"one.system is damaged: .* Capture it again"):
        read_system(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="none.system: No such file"):
        read_system(tmp_path / "none.system")
    foreign = tmp_path / "foreign.system"
    foreign.write_bytes(b"PK")
    with pytest.raises(StoreError, match="is not a system that this version of hfbench captured"):
        read_system(foreign)


def test_a_file_cannot_execute_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/executed",)

    payload = io.BytesIO()
    torch.save({"run": Evil()}, payload)
    held = payload.getvalue()
    path = tmp_path / "evil.system"
    path.write_bytes(MAGIC + hashlib.sha256(held).hexdigest().encode() + b"\n" + held)
    with pytest.raises(StoreError, match="another version"):
        read_system(path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"iteration": "1"}, {"damping": None}, {"met": [1.0]}, {"model": {"w": 1.0}}, {"optimizer": {}}, {"data": {}},
        {"optimizer": {"state": {}, "param_groups": []}}, {"gradient_cases": [1, 2]}, {"previous_step": [0.0]},
        {"run": {}}, {"run": 5}, {"data": {"sha256": 3, "sums": []}},
    ],
)  # fmt: skip
def test_fields_of_another_type_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = replace(zoo()[0], **wrong).save(tmp_path / "one.system")
    with pytest.raises(StoreError, match="of another version of hfbench"):
        read_system(path)


def changed(frozen: FrozenSystem, **settings: Any) -> FrozenSystem:
    """The system with other settings of its task."""
    run = json.loads(json.dumps(frozen.run))
    run["task_settings"] |= settings
    return replace(frozen, run=run)


def test_another_model_is_refused() -> None:
    with pytest.raises(StoreError, match="the model that it was captured with"):
        changed(zoo()[0], layers=[10, 4]).open()


def test_other_data_are_refused_and_rounding_is_not() -> None:
    with pytest.raises(StoreError, match="the data that it was captured with"):
        changed(zoo()[0], validation=40).open()
    rounded = replace(zoo()[0], data={**zoo()[0].data, "sha256": "0" * 64})
    assert rounded.open().seen() == zoo()[0].seen
    sums = [value * (1 + 1e-3) for value in zoo()[0].data["sums"]]
    with pytest.raises(StoreError, match="the data that it was captured with"):
        replace(zoo()[0], data={"sha256": "0" * 64, "sums": sums}).open()


def test_a_run_of_another_version_is_refused() -> None:
    with pytest.raises(StoreError, match="is of another version of hfbench"):
        replace(zoo()[0], run={**zoo()[0].run, "budgets": {}}).open()
