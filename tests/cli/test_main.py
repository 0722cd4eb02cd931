"""The command line: quick help, one message and status 2 for bad input, and what the commands print."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from support.shelf import CONTENT, Furniture

import hfbench
from hfbench import registry
from hfbench.parts.data_files import DataFile
from hfbench.parts.hyperparameters import part

pytestmark = pytest.mark.usefixtures("shelf")

HEAVY = "torch mlflow pandas numpy scipy matplotlib seaborn optuna joblib"


@part
class Atlas(Furniture):
    """Reads two files."""

    files: ClassVar[tuple[DataFile, ...]] = tuple(
        DataFile(f"atlas/{name}.gz", "0" * 64, (f"https://127.0.0.1/{name}.gz",)) for name in ("north", "south")
    )


@part
class Pause:
    """Stop for a while."""

    needs: ClassVar[tuple[str, ...]] = ()

    def begin(self) -> None: ...


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A data folder that holds the file."""
    folder = tmp_path / "library"
    (folder / "shelf").mkdir(parents=True)
    (folder / "shelf" / "digits.gz").write_bytes(gzip.compress(CONTENT))
    return folder


@pytest.mark.parametrize(
    ("arguments", "said"), [("--help", "Usage: hfbench"), ("list --help", "Usage: hfbench list"), ("list", "  lsmr ")]
)
def test_help_and_list_import_nothing_heavy_and_answer_at_once(arguments: str, said: str) -> None:
    program = (
        "import sys, time\n"
        "from hfbench import errors, registry\n"
        "from hfbench.cli import main\n"
        "from hfbench.config import load\n"
        "from hfbench.parts import hyperparameters\n"
        f"sys.argv = ['hfbench', *'{arguments}'.split()]\n"
        "try: main.main()\n"
        "except SystemExit as end: assert not end.code\n"
        f"print('HEAVY', set('{HEAVY}'.split()) & set(sys.modules))\n"
        "print(time.process_time())"
    )
    seconds = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        seconds.append(float(done.stdout.split()[-1]))
    assert "HEAVY set()" in done.stdout
    assert said in done.stdout
    assert min(seconds) < 0.8  # of processor time: 0.1 to 0.3 on an idle machine


def test_version(hf: Any) -> None:
    assert hf("--version") == (0, f"hfbench {hfbench.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            "rnu",
            "hfbench: no command 'rnu' (did you mean 'run'?); "
            "known: run, import, sweep, compare, export, diagnose, capture, list, show, new, check, ui, probe, data.",
        ),
        ("data ftch", "hfbench: no command 'ftch' (did you mean 'fetch'?); known: fetch, verify, where."),
        ("run", "hfbench: missing argument 'study'; `hfbench run --help` shows what there is."),
        ("show lsmr cg", "hfbench: got unexpected extra argument(s) (cg); `hfbench show --help` shows"),
        ("run quickstart --jobs", "hfbench: option '--jobs' requires an argument; `hfbench"),
        ("run quickstart --jobs 0", "hfbench: --jobs: must be at least 1, but got 0."),
        ("run quickstart --jobs two", "hfbench: invalid value for '--jobs': "),
        (
            "run quickstart --seed 3",
            "hfbench: no option --seed (did you mean --seeds or --set or --shard?); `hfbench run --help`",
        ),
        ("run quickstart --zzz", "hfbench: no option --zzz; `hfbench run --help`"),
        ("run quickstart --shard 5/4", "hfbench: --shard: must be i/n with i from 1 to n, such as 1/4, but got '5/4'."),
        (
            "run quickstart --plan --shard 1/2",
            "hfbench: --plan: looks at the whole study on this machine; leave --shard",
        ),
        ("run quickstart --backend dask --jobs 0", "hfbench: --jobs: must be at least 1, but got 0."),
        ("run quickstart --backend dsak", "hfbench: --backend: must be among loky, dask, ray, but got 'dsak' (did you"),
        ("run quickstart --cluster here:1", "hfbench: --cluster: goes with --backend dask or ray, but got 'here:1'"),
        ("run quickstart --shard 1/2 --backend dask", "hfbench: --shard: is for jobs that know of no cluster"),
        ("import quickstart nowhere", "hfbench: a source must be a results folder or an archive that `hfbench export`"),
        ("ui --port 0", "hfbench: --port: must be 1 to 65535, but got 0."),
        ("ui --port 65536", "hfbench: --port: must be 1 to 65535, but got 65536."),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(hf: Any, arguments: str, message: str) -> None:
    status, out, err = hf(*arguments.split())
    assert (status, out, err.count("\n")) == (2, "", 1)
    # Versions of typer write names of arguments in capitals or not, and count arguments or not.
    assert err.lower().replace("argument ", "argument(s) ").startswith(message.replace("argument ", "argument(s) "))


@pytest.mark.parametrize("arguments", [[], ["data"]])
def test_without_a_command_the_commands_are_shown(hf: Any, arguments: list[str]) -> None:
    status, out, err = hf(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"Usage: {' '.join(['hfbench', *arguments])} ")
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("command", "unbuffered"), [("list", "1"), ("--help", "1"), ("--help", ""), ("--version", ""), ("data where", "")]
)
def test_a_reader_that_leaves_ends_it_quietly(command: str, unbuffered: str) -> None:
    """As `hfbench list | head -1` does, with the reader gone before the first byte."""
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}  # with a buffer, it breaks when Python ends
    reader, writer = os.pipe()
    os.close(reader)
    program = [sys.executable, "-m", "hfbench.cli.main", *command.split()]
    done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, env=env, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_a_poor_encoding_is_no_traceback() -> None:
    program = [sys.executable, "-m", "hfbench.cli.main", "list", "solver"]
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=True)
    assert "Conjugate gradients" in done.stdout
    assert "?" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quikstart"], "hfbench: no study 'quikstart' (did you mean 'quickstart'?); shipped: "),
        (["run", "gone.toml"], "hfbench: gone.toml: the study file cannot be read: No such file or directory."),
        (["run", "quickstart", "--seeds", "x"], "hfbench: --seeds: must be a count"),
        (["run", "quickstart", "--only", ""], "hfbench: --only: must name a method"),
        (
            ["run", "quickstart", "--set", "study.margin=1.2", "--set", "methods.hf.solver=lsrm"],
            "hfbench: methods.hf.solver (from --set): no solver 'lsrm' (did you mean 'lsmr'?); known: cg, ",
        ),
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
    assert "`hfbench run quickstart --seeds 3` runs them" in err
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


def test_the_help_of_list_names_every_family(hf: Any) -> None:
    words = hf("list", "--help")[1].replace(",", " ").replace(".", " ").split()
    assert {*registry.FAMILIES, "study"} <= set(words)


def test_list_takes_a_family_in_singular_or_plural(hf: Any) -> None:
    for family in ("task", "tasks"):
        status, out, _ = hf("list", family)
        assert (status, out.splitlines()[0]) == (0, f"task · hfbench {hfbench.__version__}")
        rows = [line for line in out.splitlines() if line.startswith("  ")]
        assert sorted(row.split()[0] for row in rows) == registry.names("task")
    assert hf("list", "studies")[1].startswith(f"study · hfbench {hfbench.__version__}\n  aa-calibration ")
    headings = [line for line in hf("list")[1].splitlines() if line and not line.startswith(" ")]
    assert list(dict.fromkeys(line.split(" · ")[0] for line in headings)) == [*registry.FAMILIES, "study"]


def test_show_finds_parts_and_studies(hf: Any) -> None:
    assert hf("show", "shelf")[1].startswith("task shelf\n")
    assert hf("show", "quickstart")[1].startswith("study quickstart\n")


def test_show_of_a_name_in_two_families_shows_both(hf: Any) -> None:
    with registry.temporary("rule", "shelf", Pause), registry.temporary("rule", "quickstart", Pause):
        both = hf("show", "shelf")[1]
        part_and_study = hf("show", "quickstart")[1]
    assert both.startswith("task shelf\n")
    assert "\n\nrule shelf\nStop for a while." in both
    assert part_and_study.startswith("rule quickstart\n")
    assert "\n\nstudy quickstart\n" in part_and_study


# ---------------------------------------------------------------- data


def test_data_where_names_the_folders_in_order_and_the_files(
    hf: Any, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HFBENCH_DATA", str(tmp_path / "gone"))
    status, out, _ = hf("data", "where", "shelf", "--data", str(library))
    assert (status, out.splitlines()) == (
        0,
        [
            "Folders, in the order they are looked in:",
            f"  {library} (--data)",
            f"  {tmp_path / 'gone'} (HFBENCH_DATA): does not exist",
            f"  {tmp_path / 'cache'} (user cache)",
            "Files:",
            f"  shelf/digits.gz: {library / 'shelf' / 'digits.gz'}",
            "  shelf/extra.gz: not there (optional)",
        ],
    )


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_data_is_checked(hf: Any, library: Path, command: str) -> None:
    status, out, _ = hf("data", command, "shelf", "--data", str(library))
    assert status == 0
    path = library / "shelf" / "digits.gz"
    assert str(path) in out
    assert "shelf/extra.gz: optional, not there" in out
    path.write_bytes(gzip.compress(b"other digits"))
    status, _, err = hf("data", command, "shelf", "--data", str(library))
    assert status == 2
    assert err.startswith(f"hfbench: {path} is damaged or is another file.\n")
    assert hashlib.sha256(CONTENT).hexdigest() in err


def test_verify_says_of_all_missing_files_together_how_to_get_them(hf: Any, tmp_path: Path) -> None:
    with registry.temporary("task", "atlas", Atlas):
        status, out, err = hf("data", "verify", "atlas", "shelf")
    assert (status, out) == (2, "shelf/extra.gz: optional, not there\n")
    assert err.splitlines() == [
        "hfbench: 3 data files are in none of the data folders.",
        "Missing:",
        "  atlas/north.gz",
        "  atlas/south.gz",
        "  shelf/digits.gz",
        "Looked in:",
        f"  {tmp_path / 'cache'} (user cache)",
        "To supply them offline, put each file at <folder>/<its path above> and set HFBENCH_DATA=<folder>.",
        "To download: hfbench data fetch atlas",
    ]


def test_verify_begins_each_of_several_problems_with_the_name_of_the_program(hf: Any, library: Path) -> None:
    (library / "shelf" / "digits.gz").write_bytes(b"other digits")
    with registry.temporary("task", "atlas", Atlas):
        status, _, err = hf("data", "verify", "atlas", "shelf", "--data", str(library))
    assert status == 2
    assert [line.split()[1] for line in err.splitlines() if line.startswith("hfbench: ")] == [
        str(library / "shelf" / "digits.gz"),
        "2",
    ]


@pytest.mark.parametrize("command", ["fetch", "verify"])
def test_generated_data_need_no_files(hf: Any, command: str) -> None:
    said = f"curves-small: nothing to {command}, its data are generated\n"
    assert hf("data", command, "curves-small") == (0, said, "")
    status, out, _ = hf("data", "fetch", "curves")
    assert status == 0
    assert out.splitlines() == [
        "curves: nothing to fetch, its data are generated",
        "curves/digs3pts_1.mat: optional, not there",
    ]


def test_public_names_are_those_of_their_modules() -> None:
    from hfbench.curvature.linearisation import linearize
    from hfbench.hessian_free.globalization import Globalization
    from hfbench.hessian_free.optimizer import HessianFree
    from hfbench.linalg.vector import Vector

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


@pytest.mark.parametrize(("words", "status"), [(["--version"], 0), (["nosuch"], 2)])
def test_python_m_hfbench_is_the_command(words: list[str], status: int) -> None:
    done = subprocess.run([sys.executable, "-m", "hfbench", *words], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "hfbench" in (done.stderr if status else done.stdout)
