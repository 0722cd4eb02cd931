"""Options that commands share, as they reach what runs and compares studies."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.tiny_study import TEXT

from hfbench.execution.backends import Engine

pytestmark = pytest.mark.usefixtures("shelf")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stands in for what runs a study and for the UI; records how they were called."""
    seen: list[tuple[Any, ...]] = []

    def record(*arguments: Any, engine: Engine | None = None, **switches: bool) -> int:
        assert not any(switches.values()), "none was given"
        assert engine is None or engine.capacity == arguments[2], "so many jobs"
        seen.append(arguments)
        return 1

    monkeypatch.setitem(sys.modules, "hfbench.commands.run", SimpleNamespace(run_study=record))
    monkeypatch.setitem(sys.modules, "hfbench.commands.compare", SimpleNamespace(compare_study=record))
    monkeypatch.setitem(sys.modules, "hfbench.commands.ui", SimpleNamespace(ui=record))
    return seen


def test_run_hands_over_the_checked_study_and_the_status(hf: Any, calls: list[tuple[Any, ...]]) -> None:
    options = ["--seeds", "3,5", "--jobs", "2", "--only", "hf", "--results", "there", "--data", "here"]
    sets = ["--set", "methods.hf.solver=lsmr", "--set", "study.margin=1.2"]
    assert hf("run", "quickstart", *options, *sets)[0] == 1
    study, results, jobs, data, _, chosen = calls[0]
    assert (study.seeds, list(study.methods), study.margin) == ((3, 5), ["hf"], 1.2)
    assert study.methods["hf"].solver["use"] == "lsmr"
    assert (results, jobs, data) == (Path("there"), 2, "here")
    assert chosen == ["--seeds", "3,5", "--only", "hf", *sets]


def test_compare_takes_the_options_that_decide_which_runs_there_are(hf: Any, calls: list[tuple[Any, ...]]) -> None:
    sets = ["--set", "study.margin=1.2"]
    more = ["--results", "there", "--data", "here", "--from", "file"]
    assert hf("compare", "quickstart", "--seeds", "2", *sets, *more)[0] == 1
    study, results, data, _, chosen, archive = calls[0]
    assert archive == Path("file")
    assert (study.seeds, study.margin, results, data) == ((0, 1), 1.2, Path("there"), "here")
    assert chosen == ["--seeds", "2", *sets]
    assert "no option --jobs" in hf("compare", "quickstart", "--jobs", "2")[2]


def test_compare_of_what_was_never_run_is_one_message_and_leaves_nothing(hf: Any, tmp_path: Path) -> None:
    results = tmp_path / "results"
    status, _, err = hf("compare", "quickstart", "--seeds", "3", "--results", str(results))
    assert status == 2
    assert err.startswith(f"hfbench: none of the 6 runs of quickstart is recorded in {results}, so")
    assert f"`hfbench run quickstart --seeds 3 --results {results}` runs them" in err
    assert err.count("\n") == 1
    assert not results.exists()


def test_results_folder_from_the_environment(
    hf: Any, calls: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hf("run", "quickstart")
    monkeypatch.setenv("HFBENCH_RESULTS", "elsewhere")
    hf("run", "quickstart")
    hf("ui", "--port", "5005")
    assert [call[1] for call in calls[:2]] == [Path("results"), Path("elsewhere")]
    assert calls[0][2] >= 1
    assert calls[2] == (Path("elsewhere"), 5005)


@pytest.mark.parametrize("command", [["run"], ["run", "--plan"], ["compare"], ["sweep"]])
def test_a_method_that_no_task_runs_is_one_message_of_every_command(
    hf: Any, tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "study.toml"
    file.write_text(TEXT + '[on.tiny-curves]\nmethods = ["hf"]\n')
    status, out, err = hf(*command, str(file), "--results", str(tmp_path / "results"))
    assert (status, out) == (2, "")
    assert err.startswith(f"hfbench: {file}: on: some task must run every method, but none runs shf. Add it to")
    assert err.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_task_that_compares_nothing_is_told(hf: Any, calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    other = '[tasks.other]\nuse = "curves-small"\n[on.other]\nmethods = ["hf"]\n'
    file.write_text(TEXT.replace('["tiny-curves"]', '["tiny-curves", "other"]') + other)
    _, _, err = hf("run", str(file))
    assert err.startswith("hfbench: on.other: nothing is compared on other, since only the baseline 'hf' is run there.")
    assert len(calls) == 1
