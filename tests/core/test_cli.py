"""The command line: quick help, one message and status 2 for bad input, and what the commands print."""

import gzip
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import pytest

import hfbench
from hfbench import cli, registry
from hfbench.data import DataFile
from hfbench.space import Log, Within, part

HEAVY = "torch mlflow pandas numpy scipy matplotlib seaborn optuna joblib"
CONTENT = b"digits"


@part
class Shelf:
    """Reads one file; [bold]brackets[/bold] are no markup.

    The rest of the story.
    """

    files: ClassVar[tuple[DataFile, ...]] = (
        DataFile("shelf/digits.gz", hashlib.sha256(CONTENT).hexdigest()),
        DataFile("shelf/extra.gz", "", optional=True),
    )
    decay: Annotated[float, Log(1e-7, 1e-3), Within("[0, inf)"), "weight decay"] = 1e-5

    def load(self, generator: Any, data: str | None = None) -> None: ...


@pytest.fixture(autouse=True)
def _shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("HFBENCH_DATA", raising=False)
    monkeypatch.delenv("HFBENCH_RESULTS", raising=False)
    monkeypatch.setattr("hfbench.data.cache_folder", lambda: tmp_path / "cache")
    with registry.temporary("task", "shelf", Shelf):
        yield


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A data folder that holds the file."""
    folder = tmp_path / "library"
    (folder / "shelf").mkdir(parents=True)
    (folder / "shelf" / "digits.gz").write_bytes(gzip.compress(CONTENT))
    return folder


@pytest.fixture
def hf(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the console script in this process: (status, stdout, stderr)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hfbench", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        status = caught.value.code
        return (status if isinstance(status, int) else 0), out, err

    return call


def test_help_imports_nothing_heavy_and_answers_at_once() -> None:
    program = (
        "import sys\n"
        "from hfbench import cli, config, errors, registry, space\n"
        "sys.argv = ['hfbench', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('HEAVY', set('{HEAVY}'.split()) & set(sys.modules))"
    )
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
    assert "HEAVY set()" in done.stdout
    assert "Usage: hfbench" in done.stdout
    assert min(seconds) < 1.0  # 0.15 s alone on a core; the margin is for a busy machine


def test_version(hf: Any) -> None:
    assert hf("--version") == (0, f"hfbench {hfbench.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["rnu"], ["run"], ["run", "quickstart", "--jobs", "0"], ["ui", "--port", "0"]])
def test_wrong_usage_is_status_2(hf: Any, arguments: list[str]) -> None:
    status, out, err = hf(*arguments)
    assert (status, out) == (2, "")
    assert "Usage: hfbench" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quikstart"], "hfbench: no study 'quikstart' (did you mean 'quickstart'?); shipped: "),
        (["run", "gone.toml"], "hfbench: gone.toml: the study file cannot be read: No such file or directory."),
        (["run", "quickstart", "--seeds", "x"], "hfbench: quickstart.toml: --seeds: must be a count"),
        (["run", "quickstart", "--only", ""], "hfbench: quickstart.toml: --only: must name a method"),
        (["list", "solvent"], "hfbench: no family 'solvent' (did you mean 'solver'?); known: solver, "),
        (["show", "lsrm"], "hfbench: no part or study 'lsrm' (did you mean 'lsmr'?)"),
        (["data", "where", "shelve"], "hfbench: no task 'shelve' (did you mean 'shelf'?); known: "),
        (["data", "where", "--data", "/no/such/folder"], "hfbench: the data folder must exist"),
    ],
)
def test_bad_input_is_one_message_and_status_2(hf: Any, arguments: list[str], message: str) -> None:
    status, out, err = hf(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(message)
    assert "Traceback" not in err


def test_interrupt_is_status_130(hf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(family: str) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "names", interrupt)
    assert hf("list")[0] == 130


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stands in for what runs a study and for the UI; records how they were called."""
    seen: list[tuple[Any, ...]] = []

    def record(*arguments: Any) -> int:
        seen.append(arguments)
        return 1

    monkeypatch.setitem(sys.modules, "hfbench.studies.run", SimpleNamespace(run_study=record))
    monkeypatch.setitem(sys.modules, "hfbench.tracking", SimpleNamespace(ui=record))
    monkeypatch.setattr(hfbench, "tracking", SimpleNamespace(ui=record), raising=False)
    return seen


def test_run_hands_over_the_checked_study_and_the_status(hf: Any, calls: list[tuple[Any, ...]]) -> None:
    options = ["--seeds", "3,5", "--jobs", "2", "--only", "hf", "--results", "there", "--data", "here"]
    sets = ["--set", "methods.hf.solver=lsmr", "--set", "study.margin=1.2"]
    assert hf("run", "quickstart", *options, *sets)[0] == 1
    study, results, jobs, data, _ = calls[0]
    assert (study.seeds, list(study.methods), study.margin) == ((3, 5), ["hf"], 1.2)
    assert study.methods["hf"].solver["use"] == "lsmr"
    assert (results, jobs, data) == (Path("there"), 2, "here")


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


def test_list_shows_every_part_with_origin_and_first_line(hf: Any) -> None:
    status, out, _ = hf("list", "tasks")
    assert status == 0
    lines = {line.split()[1]: line for line in out.splitlines() if line.strip().startswith("task ")}
    assert set(lines) == set(registry.names("task"))
    assert "[bold]brackets[/bold] are no markup" in lines["shelf"]
    assert "The rest" not in out
    assert hf("list", "studies")[1].count("study ") >= 2
    everything = hf("list")[1]
    assert all(f"{family} " in everything for family in (*registry.FAMILIES, "study"))


def test_list_shows_a_broken_plugin_as_a_row(hf: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    info = tmp_path / "acme-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text("[hfbench.tasks]\nbroken = no_such_module:Task\n")
    monkeypatch.syspath_prepend(tmp_path)
    status, out, _ = hf("list", "task")
    (row,) = [line for line in out.splitlines() if " broken " in line]
    assert status == 0
    assert "acme 1.5" in row
    assert "error: " in row
    assert " shelf " in out


def test_show_prints_docs_and_hyper_parameters(hf: Any) -> None:
    status, out, _ = hf("show", "shelf")
    assert status == 0
    assert "Shelf" in out
    assert __file__ in out
    assert "The rest of the story." in out
    (row,) = [line for line in out.splitlines() if line.strip().startswith("decay")]
    assert all(text in row for text in ("1e-05", "a number in [0, inf)", "1e-07 to 0.001, log", "weight decay"))


def test_show_of_a_study(hf: Any) -> None:
    status, out, _ = hf("show", "quickstart")
    assert status == 0
    assert "Does LSMR" in out
    assert "shf-lsmr" in out
    assert "curves-small (target" in out


def test_data_where_lists_folders_in_order_and_files(hf: Any, library: Path, tmp_path: Path) -> None:
    status, out, _ = hf("data", "where", "shelf", "--data", str(library))
    assert (status, out.splitlines()) == (
        0,
        [
            str(library),
            str(tmp_path / "cache"),
            f"shelf/digits.gz: {library / 'shelf' / 'digits.gz'}",
            "shelf/extra.gz: not there",
        ],
    )


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_data_is_checked(hf: Any, library: Path, command: str) -> None:
    status, out, _ = hf("data", command, "shelf", "--data", str(library))
    assert status == 0
    assert str(library / "shelf" / "digits.gz") in out
    assert "shelf/extra.gz: optional, not there" in out
    (library / "shelf" / "digits.gz").write_bytes(gzip.compress(b"other digits"))
    status, _, err = hf("data", command, "shelf", "--data", str(library))
    assert status == 2
    assert err.startswith("hfbench: data file shelf/digits.gz: ")
    assert hashlib.sha256(CONTENT).hexdigest() in err


def test_public_names_are_those_of_their_modules() -> None:
    from hfbench.curvature import linearize
    from hfbench.globalization import Globalization
    from hfbench.optimizer import HessianFree
    from hfbench.vector import Vector

    assert hfbench.linearize is linearize
    assert hfbench.HessianFree is HessianFree
    assert hfbench.Vector is Vector
    assert hfbench.Globalization is Globalization
    assert hfbench.registry is registry
    assert set(hfbench.__all__) <= set(dir(hfbench))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        hfbench.nothing  # noqa: B018


def test_importing_the_package_switches_telemetry_off_unless_told_otherwise() -> None:
    program = "import os, hfbench; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    for given, kept in (({}, "true"), ({"MLFLOW_DISABLE_TELEMETRY": "false"}, "false")):
        done = subprocess.run([sys.executable, "-c", program], env=given, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == kept
