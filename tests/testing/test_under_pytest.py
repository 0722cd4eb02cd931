"""Contracts as test classes: pytest collects them, shows what is wrong in three parts, and skips as skips."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parents[1]

MODULE = """
from faulty import rules, solvers, tasks
from hfbench.solvers.stopping import RelativeProgress
from hfbench.testing import RuleContract, SolverContract, TaskContract


class TestRule(RuleContract):
    part = RelativeProgress


class TestRuleWithOtherSettings(RuleContract):
    part = RelativeProgress(epsilon=1e-3, k_min=2)


class TestFaulty(RuleContract):
    part = rules.SaysTrue


class TestSkipped(RuleContract):
    part = rules.HonestOfOneSolver


class TestTask(TaskContract):
    part = tasks.HonestHandful


class TestOtherTask(TaskContract):
    part = tasks.HonestRegression


class TestSolver(SolverContract):
    part = solvers.Honest

    def test_of_its_own(self) -> None:
        assert self.solver().monotone == ("q",)
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of the module, warnings being errors."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_mine.py").write_text(MODULE, "utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-W", "error", "-v", "-rs", "-p", "no:cacheprovider"]
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_what_holds_passes_and_what_does_not_fails(said: str) -> None:
    assert "1 failed" in said
    assert "TestFaulty::test_answers_with_a_reason_or_none FAILED" in said
    for passed in (
        "TestRule::test_says_what_it_reads",
        "TestRuleWithOtherSettings::test_begins_anew_for_every_solve",
        "TestTask::test_splits_are_disjoint",
        "TestOtherTask::test_error_is_per_case",
        "TestSolver::test_counts_its_products",
        "TestSolver::test_of_its_own",
    ):
        assert f"{passed} PASSED" in said
    assert "SolverContract::" not in said


def test_a_failure_is_told_in_three_parts(said: str) -> None:
    assert "ContractBroken: expected: a member of hfbench.parts.Stop, or None" in said
    assert re.search(r"^E +came:     False$", said, re.MULTILINE)
    assert re.search(r"^E +matters:  the reason is recorded in the trace", said, re.MULTILINE)


def test_a_check_with_nothing_to_say_is_skipped(said: str) -> None:
    assert "TestSkipped::test_says_what_it_reads SKIPPED" in said
    assert "it reads largest_eigenvalue, which only some solver's states have" in said


def test_contracts_need_no_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; import hfbench.testing, hfbench.commands.check"
    assert subprocess.run([sys.executable, "-W", "error", "-c", program], check=False).returncode == 0
