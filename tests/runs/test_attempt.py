"""An attempt at a run: its trace and result, the limits that end it, resuming, and the batches it follows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from support.tiny_study import MISBEHAVING, Explodes, Raises, attempt, interrupt, specs, tiny, trace_of, uninterrupted

from hfbench import registry
from hfbench.config.run_spec import RunSpec
from hfbench.parts import part
from hfbench.records import trace
from hfbench.records.files import write_json
from hfbench.records.run_folder import RunFolder
from hfbench.records.shorter_runs import ShorterRuns
from hfbench.runs.build import load_data
from hfbench.runs.run import LiveRun
from hfbench.solvers.cg import CG


def test_a_run_leaves_a_full_trace_and_a_result_that_agrees_with_it(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.stop_at_target=false"))["shf", 0]
    result = attempt(spec, tmp_path, study="tiny")
    rows = pd.read_parquet(RunFolder(tmp_path, spec.key()).trace_path)

    assert list(rows.columns) == list(trace.COLUMNS)
    assert list(rows["iteration"]) == list(range(7))
    assert rows["work"].is_monotonic_increasing
    assert rows["work"].iloc[0] == rows["seconds"].iloc[0] == rows["distinct_cases"].iloc[0] == 0
    assert rows["test_error"].iloc[-1] < rows["test_error"].iloc[0]
    assert list(rows["cases_gradient"].diff()[1:]) == list(rows["batch_gradient"][1:])
    assert list(rows["damping"][2:]) == list(rows["next_damping"][1:-1])
    assert rows["variance_l1"][1:].notna().all()
    assert (rows["peak_memory"] > 1e6).all()

    first = rows[1:][rows["validation_error"][1:] <= spec.target].iloc[0]
    assert result["outcome"] == "reached"
    assert result["work_to_target"] == first["work"]
    assert result["products_to_target"] == first["products"]
    assert result["test_error_at_target"] == first["test_error"]
    assert result["distinct_to_target"] == first["distinct_cases"] / 200
    assert result["work"] == rows["work"].iloc[-1] > result["work_to_target"]
    assert (result["study"], result["threads"], result["iterations"]) == ("tiny", 1, 6)
    assert json.loads((tmp_path / "runs" / spec.key() / "result.json").read_text()) == result


NOISE = """
[methods.inner]
solver = "minres"
preconditioner = "martens"
scheduler = { use = "inner-product", start = 0.1, theta = 0.1, nu = 0.2 }

[methods.adam]
optimizer = { use = "adam", minibatch = 20 }
scheduler = "inner-product"
"""


def test_what_a_scheduler_needs_is_measured_and_no_more(tmp_path: Path) -> None:
    by_name = specs(tiny(tmp_path, "study.stop_at_target=false", extra=NOISE))
    rows = {}
    for name in ("inner", "shf", "hf"):
        attempt(by_name[name, 0], tmp_path)
        rows[name] = trace_of(by_name[name, 0], tmp_path)[1:]
    measured = {name: tuple(of[["variance_l1", "variance_inner"]].notna().all()) for name, of in rows.items()}
    assert measured == {"inner": (True, True), "shf": (True, False), "hf": (False, False)}
    inner = rows["inner"]
    assert (inner["variance_inner"] <= inner["variance_l1"] * inner["gradient_norm"] ** 2).all()
    assert inner["batch_gradient"].iloc[-1] > inner["batch_gradient"].iloc[0] == 20
    assert set(inner["batch_reason"]) & {"orthogonality", "inner-product+orthogonality"}


def test_a_baseline_says_that_it_measures_no_noise(tmp_path: Path) -> None:
    result = attempt(specs(tiny(tmp_path, extra=NOISE))["adam", 0], tmp_path)
    assert result["outcome"] == "failed"
    assert "does not measure variance_l1, variance_inner, which its scheduler needs" in result["error"]


def test_the_target_ends_a_run_unless_told_otherwise(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path))["hf", 0]
    result = attempt(spec, tmp_path)
    assert result["iterations"] < 6
    assert (
        trace_of(spec, tmp_path)["validation_error"].iloc[-1]
        <= spec.target
        < trace_of(spec, tmp_path)["validation_error"].iloc[-2]
    )


@pytest.mark.parametrize(
    ("budget", "column", "limit"),
    [
        ("{ iterations = 2 }", "iteration", 2),
        ("{ passes = 30, iterations = 50 }", "work", 30),
        ("{ products = 20 }", "products", 20),
    ],
)
def test_the_first_limit_met_ends_a_run(tmp_path: Path, budget: str, column: str, limit: float) -> None:
    spec = specs(tiny(tmp_path, f"study.budget={budget}", "study.targets.tiny-curves=0.001"))["hf", 0]
    result = attempt(spec, tmp_path)
    spent = trace_of(spec, tmp_path)[column]
    assert result["outcome"] == "budget"
    assert result["work_to_target"] is None
    assert spent.iloc[-2] < limit <= spent.iloc[-1]


def test_a_target_met_beyond_the_budget_is_not_reached(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.budget={ passes = 1 }", "study.targets.tiny-curves=1000.0"))["hf", 0]
    assert attempt(spec, tmp_path)["outcome"] == "budget"


@pytest.mark.parametrize("method", ["hf", "shf"])
def test_interrupted_equals_uninterrupted(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = specs(tiny(tmp_path, "study.stop_at_target=false"))[method, 0]
    expected = uninterrupted(spec, tmp_path / "whole")
    steps = interrupt(monkeypatch, 4)
    with pytest.raises(KeyboardInterrupt):
        attempt(spec, tmp_path / "parts", checkpoint_every=0.0)
    folder = RunFolder(tmp_path / "parts", spec.key())
    assert not folder.is_complete()

    result = attempt(spec, tmp_path / "parts", checkpoint_every=0.0)
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    pd.testing.assert_frame_equal(trace_of(spec, tmp_path / "parts"), expected, check_exact=True)
    whole = RunFolder(tmp_path / "whole", spec.key()).result() or {}
    unlike = {name for name in result if result[name] != whole[name]}
    assert unlike <= {"seconds", "seconds_to_target", "peak_memory"}
    files = sorted(path.name for path in folder.path.iterdir())
    assert files == ["checkpoint.pt", "config.json", "examples.npz", "manifest.json", "result.json", "trace.parquet"]


def test_a_complete_run_is_not_repeated_but_a_failed_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = specs(tiny(tmp_path))["hf", 0]
    with monkeypatch.context() as broken:
        broken.setattr(LiveRun, "advance", lambda self: 1 / 0)
        assert attempt(spec, tmp_path)["error"].startswith("ZeroDivisionError: division by zero (")
    details = tmp_path / "runs" / spec.key() / "error.txt"
    assert "Traceback" in details.read_text()

    first = attempt(spec, tmp_path)
    assert first["outcome"] == "reached"
    assert not details.exists()
    monkeypatch.setattr(LiveRun, "advance", lambda self: 1 / 0)
    assert attempt(spec, tmp_path) == first


@pytest.mark.parametrize(
    ("solver", "outcome", "error"),
    [(Explodes, "diverged", "after iteration 1"), (Raises, "failed", "RuntimeError: planted")],
)
def test_misbehaving_parts_are_outcomes(tmp_path: Path, solver: Any, outcome: str, error: str) -> None:
    with registry.temporary("solver", "planted", solver):
        spec = specs(tiny(tmp_path, extra=MISBEHAVING % ("odd", "planted")))["odd", 0]
        result = attempt(spec, tmp_path)
    assert result["outcome"] == outcome
    assert error in result["error"]
    assert RunFolder(tmp_path, result["key"]).is_complete() == (outcome == "diverged")


@part
class Doubles(CG):
    """Turns the default dtype of the process to float64."""

    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Any:
        torch.set_default_dtype(torch.float64)
        yield from CG().iterates(system, x0, preconditioner)


def test_a_run_that_changes_this_process_fails_and_so_do_those_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfbench.runs.attempt._spoilt", [])
    try:
        with registry.temporary("solver", "planted", Doubles):
            first, second = (
                specs(tiny(tmp_path, extra=MISBEHAVING % ("odd", "planted")))[method, 0] for method in ("odd", "hf")
            )
            result = attempt(first, tmp_path)
            assert (result["outcome"], result["cause"]) == ("failed", "method")
            assert "changed torch's default dtype from torch.float32 to torch.float64" in result["error"]
            later = attempt(second, tmp_path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (later["outcome"], later["cause"]) == ("failed", "machine"), "it is made again"
    assert "an earlier run of this process, odd/tiny-curves/s0, changed torch's default dtype" in later["error"]


def test_a_run_keeps_pictures_of_its_first_test_cases(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path))["shf", 0]
    attempt(spec, tmp_path)
    shown = RunFolder(tmp_path, spec.key()).examples()
    assert shown is not None
    assert shown["originals"].shape == shown["reconstructions"].shape == (8, 16, 16)
    test = load_data(spec).test.inputs[:8].reshape(8, 16, 16).numpy()
    assert (shown["originals"] == test).all()
    squares = ((shown["reconstructions"] - test) ** 2).sum((1, 2))
    assert shown["errors"] == pytest.approx(squares, rel=1e-5)


# ---------------------------------------------------------------- followed batches, streams, baselines

FOLLOWS = """
[methods.follower]
solver = "cg"
preconditioner = "identity"
batches_of = "shf"

[methods.other-draws]
solver = "cg"
preconditioner = "martens"
scheduler = { use = "fixed", gradient = 1.0, curvature = 0.25 }
stream = 1

[methods.adam]
optimizer = { use = "adam", lr = 0.01, minibatch = 20 }
scheduler = { use = "fixed", gradient = 1.0, curvature = 1.0, order = "random" }
"""


def test_a_follower_meets_the_same_batches_again(tmp_path: Path) -> None:
    known = specs(tiny(tmp_path, "study.stop_at_target=false", "methods.shf.scheduler.theta=0.1", extra=FOLLOWS))
    leader, follower = known["shf", 0], known["follower", 0]
    assert follower.follows == leader.key()
    attempt(leader, tmp_path)
    assert attempt(follower, tmp_path)["outcome"] in ("reached", "budget")
    same = ["batch_gradient", "batch_curvature", "batch_order", "cases_gradient", "distinct_cases"]
    pd.testing.assert_frame_equal(trace_of(leader, tmp_path)[same], trace_of(follower, tmp_path)[same])
    assert trace_of(leader, tmp_path)["batch_gradient"].nunique() > 1, "nothing grew, so nothing was shown"
    assert trace_of(follower, tmp_path)["variance_l1"].isna().all()


def test_a_follower_without_its_leader_fails_with_a_reason(tmp_path: Path) -> None:
    follower = specs(tiny(tmp_path, extra=FOLLOWS))["follower", 0]
    result = attempt(follower, tmp_path)
    assert result["outcome"] == "failed"
    assert "replays the batches of shf, whose run" in result["error"]


def test_another_stream_draws_otherwise_from_the_same_start(tmp_path: Path) -> None:
    known = specs(tiny(tmp_path, "methods.hf.scheduler.order=random", "methods.other-draws.scheduler.order=random",
                       extra=FOLLOWS))  # fmt: skip
    for name in ("hf", "other-draws"):
        attempt(known[name, 0], tmp_path)
    one, other = (trace_of(known[name, 0], tmp_path)["test_error"] for name in ("hf", "other-draws"))
    assert one[0] == other[0]
    assert one[1] != other[1]


def test_a_baseline_runs_by_the_same_rules(tmp_path: Path) -> None:
    spec = specs(tiny(tmp_path, "study.stop_at_target=false", extra=FOLLOWS))["adam", 0]
    result = attempt(spec, tmp_path)
    rows = trace_of(spec, tmp_path)
    assert result["products"] is None
    assert rows["work"].iloc[-1] == pytest.approx(3 * 6), "three units for each case in six passes"
    assert rows["test_error"].iloc[-1] < rows["test_error"].iloc[0]
    assert (rows["gradient_norm"][1:] > 0).all()


@pytest.mark.slow
def test_the_peak_of_a_run_does_not_depend_on_the_runs_before_it(tmp_path: Path) -> None:
    """In a process of its own: the first run there loads libraries, the others find them loaded."""
    program = (
        "import sys; from pathlib import Path; from support.tiny_study import attempt, specs, tiny\n"
        "folder = Path(sys.argv[1])\n"
        "known = specs(tiny(folder, 'study.seeds=3'))\n"
        "print(*(attempt(known['hf', seed], folder)['peak_memory'] for seed in range(3)))"
    )
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    ).stdout  # fmt: skip
    peaks = [int(peak) for peak in said.split()]
    assert len(peaks) == 3
    assert max(peaks) < 1.05 * min(peaks)


# ---------------------------------------------------------------- a larger budget


def budgets(tmp_path: Path, small: int, large: int, *overrides: str) -> list[dict[tuple[str, int], RunSpec]]:
    """The runs of one study with a smaller and with a larger budget, in iterations."""
    studies = (tiny(tmp_path, *overrides, f"study.budget.iterations={n}", extra=FOLLOWS) for n in (small, large))
    return [specs(study) for study in studies]


def go_on(spec: RunSpec, results: Path, **more: Any) -> dict[str, Any]:
    """As a command makes the run, from a shorter one if there is one."""
    return attempt(spec, results, shorter=ShorterRuns(results).of(spec), **more)


def of_result(spec: RunSpec, results: Path) -> dict[str, Any]:
    """All that two machines must agree on."""
    timed = ("seconds", "seconds_to_target", "peak_memory")
    return {name: value for name, value in (RunFolder(results, spec.key()).result() or {}).items() if name not in timed}


@pytest.mark.parametrize("method", ["hf", "shf", "adam", "follower"])
def test_a_larger_budget_goes_on_where_a_smaller_one_ended(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = budgets(tmp_path, 3, 6, "study.stop_at_target=false", "methods.shf.scheduler.theta=0.1")
    needed = [name for name in ("shf", method) if name == method or method == "follower"]
    for name in needed:
        attempt(large[name, 0], tmp_path / "whole")
        attempt(small[name, 0], tmp_path / "parts")
    if method == "follower":
        go_on(large["shf", 0], tmp_path / "parts")
    steps = interrupt(monkeypatch, 0)
    go_on(large[method, 0], tmp_path / "parts")
    assert steps == [4, 5, 6]
    whole, parts = (trace_of(large[method, 0], tmp_path / name) for name in ("whole", "parts"))
    pd.testing.assert_frame_equal(parts, whole, check_exact=True)
    assert of_result(large[method, 0], tmp_path / "parts") == of_result(large[method, 0], tmp_path / "whole")
    before = pd.read_parquet(RunFolder(tmp_path / "parts", small[method, 0].key()).trace_path)["seconds"]
    after = pd.read_parquet(RunFolder(tmp_path / "parts", large[method, 0].key()).trace_path)["seconds"]
    assert list(after[:4]) == list(before), "the clock goes on"


@pytest.mark.parametrize("method", ["hf", "shf"])
@pytest.mark.parametrize("stop", ["true", "false"])
def test_a_larger_budget_looks_at_no_other_rows_for_having_gone_on(tmp_path: Path, method: str, stop: str) -> None:
    """The smaller one was looked at at its end, and met the target there."""
    more = ("study.evaluate_every=3", f"study.stop_at_target={stop}", "study.targets.tiny-curves=75.0")
    small, large = (of[method, 0] for of in budgets(tmp_path, 4, 8, *more))
    expected = uninterrupted(large, tmp_path / "whole")
    assert attempt(small, tmp_path / "parts")["outcome"] == "reached"
    go_on(large, tmp_path / "parts")
    pd.testing.assert_frame_equal(trace_of(large, tmp_path / "parts"), expected, check_exact=True)
    assert of_result(large, tmp_path / "parts") == of_result(large, tmp_path / "whole")


def test_interrupted_on_the_way_to_the_larger_budget_it_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = (of["shf", 0] for of in budgets(tmp_path, 2, 6, "study.stop_at_target=false"))
    expected = uninterrupted(large, tmp_path / "whole")
    attempt(small, tmp_path / "parts")
    steps = interrupt(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        go_on(large, tmp_path / "parts", checkpoint_every=0.0)
    go_on(large, tmp_path / "parts", checkpoint_every=0.0)
    assert steps == [3, 4, 5, 5, 6]
    pd.testing.assert_frame_equal(trace_of(large, tmp_path / "parts"), expected, check_exact=True)


@pytest.mark.parametrize(("solver", "outcome"), [("cg", "reached"), ("planted", "diverged")])
def test_a_run_that_ended_before_its_budget_is_the_larger_budgets_too(
    tmp_path: Path, solver: str, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with registry.temporary("solver", "planted", Explodes):
        small, large = (of["hf", 0] for of in budgets(tmp_path, 6, 9, f"methods.hf.solver={solver}",
                        "methods.hf.globalization={ backtracking = false, line_search = false }"))  # fmt: skip
        first = attempt(small, tmp_path, study="tiny")
        monkeypatch.setattr(LiveRun, "advance", lambda self: 1 / 0)
        again = go_on(large, tmp_path, study="more")
        assert first["outcome"] == outcome
        assert again == first | {"key": large.key(), "study": "more"}
        for file in ("trace.parquet", "examples.npz"):
            copies = [(RunFolder(tmp_path, spec.key()).path / file).read_bytes() for spec in (small, large)]
            assert copies[0] == copies[1]


def test_a_run_whose_last_step_went_beyond_the_budget_ends_at_its_target_under_a_larger_one(tmp_path: Path) -> None:
    """The step that spent the budget may have reached the target, too late for the smaller budget alone."""
    probe = specs(tiny(tmp_path))["hf", 0]
    attempt(probe, tmp_path / "probe")
    needed = float(trace_of(probe, tmp_path / "probe")["work"].iloc[-1])
    small, large = (
        specs(tiny(tmp_path, f"study.budget={{ passes = {limit} }}"))["hf", 0] for limit in (needed - 0.5, needed + 0.5)
    )
    assert attempt(small, tmp_path)["outcome"] == "budget"
    assert go_on(large, tmp_path)["outcome"] == "reached"
    assert len(trace_of(large, tmp_path)) == len(trace_of(probe, tmp_path / "probe"))


def test_a_follower_that_went_beyond_the_batches_of_its_leader_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It repeated the leader's last batch, where the longer leader has another one."""
    more = ("study.stop_at_target=false", "methods.shf.scheduler.theta=0.1")
    leader, follower = ([of[name, 0] for of in budgets(tmp_path, 2, 6, *more)] for name in ("shf", "follower"))
    ahead = replace(follower[1], follows=leader[0].key(), budget={"iterations": 5})
    attempt(leader[0], tmp_path)
    attempt(ahead, tmp_path)
    go_on(leader[1], tmp_path)
    steps = interrupt(monkeypatch, 0)
    go_on(follower[1], tmp_path)
    assert steps == [1, 2, 3, 4, 5, 6]
    same = ["batch_gradient", "batch_curvature"]
    pd.testing.assert_frame_equal(trace_of(leader[1], tmp_path)[same], trace_of(follower[1], tmp_path)[same])


def test_a_run_made_with_other_versions_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (of["hf", 0] for of in budgets(tmp_path, 2, 3, "study.stop_at_target=false"))
    result = attempt(small, tmp_path)
    folder = RunFolder(tmp_path, small.key())
    write_json(folder.path / "result.json", result | {"versions": result["versions"] | {"torch": "1.0"}})
    steps = interrupt(monkeypatch, 0)
    go_on(large, tmp_path)
    assert steps == [1, 2, 3]


def test_a_run_killed_between_its_last_state_and_its_result_makes_no_further_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = specs(tiny(tmp_path, "study.stop_at_target=false"))["hf", 0]
    first = attempt(spec, tmp_path)
    (tmp_path / "runs" / spec.key() / "result.json").unlink()
    monkeypatch.setattr(LiveRun, "advance", lambda self: 1 / 0)
    assert attempt(spec, tmp_path)["iterations"] == first["iterations"] == 6
