"""capture, probe and diagnose as they are typed: what is written, exit statuses, and one message for bad input."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from support.hostile_systems import CHANGES, changed
from support.tiny_study import TEXT, attempt, specs, tiny

from hfbench.cli import main
from hfbench.probe.frozen_system import read_system


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hfbench", *map(str, words)])
        monkeypatch.setenv("COLUMNS", "80")
        with pytest.raises(SystemExit) as end:
            main.main()
        screen = capsys.readouterr()
        return int(end.value.code or 0), screen.out, screen.err

    return run


@pytest.fixture
def study(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(TEXT)
    return file


@pytest.mark.slow
def test_a_zoo_is_captured_and_probed_three_ways(typed, study: Path, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    status, out, err = typed("capture", study, "--only", "hf", "--at", "1,3", "--damping", "1,0.1", "--into", zoo)
    assert (status, err) == (0, "")
    files = sorted(path.name for path in zoo.iterdir())
    assert files == [
        "hf-tiny-curves-s0-i1-lambda-x0.1.system", "hf-tiny-curves-s0-i1.system",
        "hf-tiny-curves-s0-i3-lambda-x0.1.system", "hf-tiny-curves-s0-i3.system",
    ]  # fmt: skip
    assert out.count("200 cases") == 4
    assert read_system(zoo / files[0]).damping == pytest.approx(0.1 * read_system(zoo / files[1]).damping)

    status, out, err = typed("probe", "solvers", zoo, "--solvers", "cg,lsmr", "--iterations", "20")
    assert (status, err) == (0, "")
    assert "lsmr martens over cg martens, after equally many iterations" in out
    assert {path.suffix for path in (zoo / "probe-solvers").iterdir()} == {".parquet", ".json", ".png", ".svg"}

    status, out, err = typed(
        "probe", "preconditioners", zoo, "--preconditioners", "identity,martens", "--probes", "1", "--exponents", "1"
    )
    assert (status, err) == (0, "")
    assert "martens 2 old" in out
    status, out, err = typed("probe", "variance", zoo / files[1], "--draws", "3", "--batches", "20,50")
    assert (status, err) == (0, "")
    assert "What schedulers do next, and should" in out


def test_a_run_that_ends_before_is_said_and_is_status_1(typed, study: Path, tmp_path: Path) -> None:
    status, out, _ = typed("capture", study, "--only", "hf", "--at", "2,50", "--damping", "1", "--into", tmp_path / "z")
    assert status == 1
    assert "hf/tiny-curves/s0 ended before iteration 50." in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["capture", "STUDY", "--at", "0"], "--at: must be whole numbers from 1, separated by commas, but got '0'"),
        (["capture", "STUDY", "--at", "1.5"], "--at: must be whole numbers from 1"),
        (["capture", "STUDY", "--damping", "x"], "--damping: must be positive numbers"),
        (["capture", "STUDY", "--only", "hff"], "did you mean"),
        (["probe", "solvers", "HERE/none.system"], "none.system: No such file"),
        (["probe", "solvers", "HERE/foreign.system"], "is not a system that this version of hfbench captured"),
        (["probe", "solvers", "HERE"], "foreign.system is not a system"),
        (["probe", "solvers", "HERE/empty"], "no *.system files in"),
        (["probe", "solvers", "ONE", "--solvers", "cgg"], "--solvers: no solver 'cgg' (did you mean 'cg'?)"),
        (["probe", "solvers", "ONE", "--precision", "float16"], "--precision: must be among"),
        (["probe", "solvers", "ONE", "--start", "cold"], "--start: must be among warm, zero, previous"),
        (["probe", "preconditioners", "ONE", "--preconditioners", "jacobi"], "no preconditioner 'jacobi'"),
        (["probe", "preconditioners", "ONE", "--exponents", "2"], "exponent: must lie in (0, 1], but got 2"),
        (["probe", "variance", "ONE", "--batches", "1000"], "must have sizes from 2 to 200"),
        (["probe", "variance", "ONE", "--schedulers", "fixed"], "start"),
        (["probe", "solver", "ONE"], "no command 'solver' (did you mean 'solvers'?)"),
        (["diagnose", "STUDY", "--results", "HERE/none"], "none of the 4 runs of tiny is recorded"),
        (["diagnose", "quikstart"], "did you mean 'quickstart'?"),
    ],
)
def test_bad_input_is_one_message_and_status_2(
    typed, study: Path, tmp_path: Path, one: Path, words: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign.system").write_bytes(b"nothing of ours")
    known = {"STUDY": str(study), "ONE": str(one)}
    given = [known.get(word, word).replace("HERE", str(tmp_path)) for word in words]
    before = sorted(tmp_path.rglob("*"))
    status, _, err = typed(*given)
    assert status == 2
    assert err.count("\n") == 1
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hfbench.probe.freeze import frozen_systems

    folder = tmp_path_factory.mktemp("one")
    frozen = next(frozen_systems(specs(tiny(folder))["hf", 0], [2]))
    return frozen.save(folder / "one.system")


@pytest.mark.parametrize("probe", ["solvers", "preconditioners", "variance"])
def test_a_hostile_system_costs_every_probe_one_sentence(typed, one: Path, tmp_path: Path, probe: str) -> None:
    file, frozen = tmp_path / "hostile.system", read_system(one)
    hostile = ("the task's name climbs", "cases below 0", "a previous step of another shape", "precision unknown")
    for held in (*(changed(frozen, CHANGES[words]) for words in hostile), None):
        file.unlink(missing_ok=True)
        os.mkfifo(file) if held is None else file.write_bytes(held)
        status, out, err = typed("probe", probe, file)
        assert (status, out, err.count("\n")) == (2, "", 1)
        assert "hostile.system" in err
        assert len(err) < 1500
        assert list(tmp_path.iterdir()) == [file]


def test_two_files_of_one_name_are_refused(typed, one: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.system").write_bytes(one.read_bytes())
    status, _, err = typed("probe", "solvers", one, tmp_path / "copy.system")
    assert status == 2
    assert "copy.system and " in err
    assert "are both the system hf-tiny-curves-s0-i2: give one of them" in err


def test_a_solver_that_refuses_is_skipped_with_its_sentence(typed, one: Path, tmp_path: Path) -> None:
    status, out, _ = typed("probe", "solvers", one, "--solvers", "cg,dense", "--iterations", "5", "--into", tmp_path)
    assert status == 0
    assert "solver Dense takes no preconditioner, but got Martens: use identity" in " ".join(out.split())


def test_diagnose_of_a_study_and_of_one_run(typed, study: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    found = specs(tiny(tmp_path))
    for spec in found.values():
        attempt(spec, results)
    status, out, _ = typed("diagnose", study, "--results", results)
    assert (status, "4 runs looked at" in out) == (0, True)
    status, out, _ = typed("diagnose", found["hf", 0].key()[:8], "--results", results)
    assert (status, out.splitlines()[-1]) == (0, "No failure signature.")
    status, _, err = typed("diagnose", found["hf", 0].key()[:8], "--origin", "--results", results)
    assert (status, err) == (
        2,
        "hfbench: --origin: needs the study, because it trains runs again, but got a run's key.\n",
    )
