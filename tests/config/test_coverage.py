"""Coverage: what no task runs is refused with one message, and a task that compares nothing is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_study import FACTORIAL, tiny

from hfbench.config.coverage import uncompared
from hfbench.config.load import load_study
from hfbench.errors import ConfigError

THIRD = """
[methods.third]
solver = "minres"
preconditioner = "identity"
scheduler = "fixed"
"""
FOLLOWER = """
[methods.follower]
solver = "minres"
preconditioner = "identity"
batches_of = "shf"
"""
CLAIM = """
[hypotheses.leaner]
method = "shf"
against = "third"
measure = "peak_memory"
"""
SWEEP = """
[sweep]
method = "third"
trials = 2
[sweep.parameters]
max_inner = { low = 1, high = 300 }
"""
SECOND_TASK = """
[tasks.other]
use = "curves-small"
cases = 100
validation = 20
"""
BOTH_TASKS = ("study.tasks=['tiny-curves', 'other']", "study.targets.other=1.0")


def on(task: str, *methods: str) -> str:
    return f"[on.{task}]\nmethods = [{', '.join(repr(name) for name in methods)}]\n"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            THIRD + on("tiny-curves", "hf", "shf"),
            "tiny.toml: on: some task must run every method, but none runs third. Add it to on.tiny-curves.methods, "
            "or take it out of the study.",
        ),
        (
            FOLLOWER + THIRD + on("tiny-curves", "hf", "third", "follower"),
            "but none runs shf.",
        ),
        (
            SECOND_TASK + FOLLOWER + on("other", "hf", "follower"),
            "on.other.methods: must include 'shf', whose batches 'follower' replays, but got hf, follower.",
        ),
        (
            SECOND_TASK + THIRD + CLAIM + on("other", "hf", "third") + on("tiny-curves", "hf", "shf"),
            "hypotheses.leaner: some task must run both 'shf' and 'third', but none does.",
        ),
        (
            SECOND_TASK + FACTORIAL + on("other", "hf", "shf", "hf_lsmr", "hf_chapelle-erhan", "hf_dynamic")
            + on("tiny-curves", "hf", "hf_lsmr_chapelle-erhan", "hf_lsmr_dynamic", "hf_chapelle-erhan_dynamic"),
            "ablation: some task must run all 8 methods of the factorial design, but none does; other lacks "
            "hf_chapelle-erhan_dynamic, hf_lsmr_dynamic, hf_lsmr_chapelle-erhan.",
        ),
    ],
)  # fmt: skip
def test_what_no_task_runs_is_refused(tmp_path: Path, extra: str, message: str) -> None:
    overrides = BOTH_TASKS if SECOND_TASK in extra else ()
    with pytest.raises(ConfigError) as caught:
        tiny(tmp_path, *overrides, extra=extra)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_that_a_sweep_tunes_need_not_be_run(tmp_path: Path) -> None:
    study = tiny(tmp_path, extra=THIRD + SWEEP + on("tiny-curves", "hf", "shf"))
    assert study.on["tiny-curves"].methods == ("hf", "shf")


def test_a_task_with_the_baseline_alone_is_told(tmp_path: Path) -> None:
    study = tiny(tmp_path, *BOTH_TASKS, extra=SECOND_TASK + on("other", "hf"))
    said = "on.other: nothing is compared on other, since only the baseline 'hf' is run there. "
    assert uncompared(study) == [
        f"{said}List another method for it (on.other.methods, --only), or take it out of study.tasks."
    ]
    assert uncompared(tiny(tmp_path)) == []


def test_a_task_that_only_leaves_without_methods_is_told(tmp_path: Path) -> None:
    tiny(tmp_path, *BOTH_TASKS, extra=SECOND_TASK + THIRD + on("other", "hf", "third"))
    study = load_study(str(tmp_path / "tiny.toml"), BOTH_TASKS, only=["shf"])
    assert [line.partition(":")[0] for line in uncompared(study)] == ["on.other"]
    assert uncompared(load_study(str(tmp_path / "tiny.toml"), BOTH_TASKS, only=["hf"])) == []
