"""The command line: quick help, one message and status 2 for bad input, and what is imported for it."""

import os
import subprocess
import sys
from typing import Any

import pytest

import hfbench
from hfbench import registry
from hfbench.cli import main as command_line

pytestmark = pytest.mark.usefixtures("shelf")

HEAVY = "torch mlflow pandas numpy scipy matplotlib seaborn optuna joblib"


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
            "known: run, import, sweep, compare, export, diagnose, capture, simulate, list, schema, show, new, check, "
            "ui, probe, data.",
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
            "hfbench: --plan: predicts the whole study on this machine; leave --shard",
        ),
        ("run quickstart --backend dask --jobs 0", "hfbench: --jobs: must be at least 1, but got 0."),
        ("run quickstart --backend dsak", "hfbench: --backend: must be among processes, dask, but got 'dsak' (did you"),
        ("run quickstart --backend ray", "hfbench: --backend: must be among processes, dask, but got 'ray'."),
        ("run quickstart --cluster here:1", "hfbench: --cluster: goes with --backend dask, but got 'here:1'"),
        ("run quickstart --shard 1/2 --backend dask", "hfbench: --shard: is for jobs without a cluster"),
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


def test_public_names_are_those_of_their_modules() -> None:
    from hfbench.curvature.checked_linearisation import linearize
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


def test_a_fault_of_hfbench_is_not_blamed_on_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line's own library stands in every traceback."""

    def fails(*of: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("hfbench.commands.show.print_list", fails)
    monkeypatch.setattr(sys, "argv", ["hfbench", "list"])
    with pytest.raises(RuntimeError, match="a fault of ours"):
        command_line._status()
