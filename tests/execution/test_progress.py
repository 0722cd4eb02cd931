"""Progress: bars of runs under way, and a run in one line."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from support.tiny_study import (
    uses_mlflow,
)

from hfbench.execution import progress as progress_module
from hfbench.execution.progress import RunBars, counting, describe_run, note
from hfbench.execution.screen import Screen
from hfbench.records.run_folder import RunFolder

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store", "undrawn")]


def test_bars_follow_the_reports_of_runs_under_way(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    screen = io.StringIO()
    console = Screen(file=screen, force_terminal=True, width=100)
    with RunBars(console, tmp_path, ["abc", "def"], 1, 3) as bars:
        bars.since -= 5
        bars.read_reports()
        assert [task.description for task in bars.tasks] == ["all runs"]
        held = {"error": 9.1234, "target": 7.0, "target_on": "validation"}
        folder.report({"name": "hf/usps/s0", "iteration": 4, "spent": 0.5, **held})
        time.sleep(0.8)  # the reader's turn
        bars.refresh()
        assert [(task.description, task.completed) for task in bars.tasks] == [("all runs", 1), ("hf/usps/s0", 0.5)]
        bars.ended({"key": "abc", "method": "hf", "task": "usps", "seed": 0, "outcome": "failed", "error": "[x]"})
        assert [(task.description, task.completed) for task in bars.tasks] == [("all runs", 2)]
    assert "iteration 4, validation error 9.123 (target 7)" in screen.getvalue()
    assert "hf/usps/s0: failed: [x]" in screen.getvalue()


def test_reports_of_earlier_invocations_are_not_shown(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, "abc")
    folder.create({})
    folder.report({"name": "hf/usps/s0", "iteration": 0})
    assert folder.progress(time.time() - 10) == {"name": "hf/usps/s0", "iteration": 0}
    assert folder.progress(time.time() + 10) is None
    assert note({"name": "hf/usps/s0", "iteration": 0}) == "starting"


def test_a_run_in_one_line() -> None:
    result = {"method": "hf", "task": "usps", "seed": 1, "work": 12.345, "seconds": 8.123, "final_test_error": 7.7777}
    at_once = describe_run(result | {"outcome": "reached", "work_to_target": 12.345})
    assert at_once == "hf/usps/s1: reached the target after 12.35 passes, 8.12 s"
    went_on = describe_run(result | {"outcome": "reached", "work_to_target": 3.0})
    assert went_on == (
        "hf/usps/s1: reached the target after 3 passes, ended after 12.35 passes, 8.12 s, test error 7.778"
    )
    assert describe_run(result | {"outcome": "diverged"}) == "hf/usps/s1: diverged after 12.35 passes, 8.12 s"
    assert describe_run(result | {"outcome": "budget"}).endswith(
        "budget spent after 12.35 passes, 8.12 s, test error 7.778"
    )


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_long_run_leaves_the_bar_and_the_time_their_width(tmp_path: Path, width: int) -> None:
    screen = io.StringIO()
    bars = RunBars(Screen(file=screen, force_terminal=True, width=width), tmp_path, [], 1, 3)
    bars.add_task("shf_for_curves-small/curves-small/s0", note="iteration 12, test error 15.2 (target 12)")
    lines = ["".join(segment.text for segment in line) for line in bars.console.render_lines(bars.get_renderable())]
    assert len(lines) == 2
    for line in lines:
        assert len(re.findall("[━╸╺]", line)) == 14
        assert line.rstrip().endswith(("-:--:--", "0:00:00"))


def test_what_lasts_says_how_far_it_is_where_there_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    console = Screen(file=io.StringIO(), width=80)
    with counting(console, "reading [the] records", 3) as read:
        read(1)
        monkeypatch.setattr(progress_module, "SILENT", 0.0)
        read(2)
        read(3)
    assert console.file.getvalue() == "reading [the] records: 2 of 3\n"  # type: ignore[attr-defined]
