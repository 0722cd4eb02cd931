"""The device of a study: its name, what is said where it is not there, and a run on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.tiny_study import TEXT

from hfbench.config.devices import check_device, device_of, gpu_of, is_here
from hfbench.config.load import load_study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError
from hfbench.records.run_folder import RunFolder
from hfbench.runs.attempt import attempt


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:12"])
def test_names_of_devices(name: str) -> None:
    assert check_device(name) == name


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CUDA", "mps", ""])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=r"study.device: must be cpu, cuda \(the first GPU .*\) or cuda:<n>, but got"):
        check_device(name)


def study(tmp_path: Path, device: str) -> Path:
    """The study of seconds, on a device."""
    file = tmp_path / "tiny.toml"
    file.write_text(TEXT.replace("seeds = 2", f'seeds = 1\ndevice = "{device}"'))
    return file


def test_a_study_names_its_device_and_its_runs_have_it(tmp_path: Path) -> None:
    file = str(study(tmp_path, "cuda:3"))
    assert {spec.device for spec in runs_of(load_study(file))} == {"cuda:3"}
    other = runs_of(load_study(file, overrides=["study.device=cpu"]))
    assert {spec.device for spec in other} == {"cpu"}
    assert not {spec.key() for spec in other} & {spec.key() for spec in runs_of(load_study(file))}
    with pytest.raises(ConfigError, match=r"study.device \(from --set\): must be cpu, cuda"):
        load_study(file, overrides=["study.device=gpu"])


def test_a_gpu_that_is_not_there_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of("cpu") == torch.device("cpu")
    assert gpu_of("cpu") == {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ConfigError, match=r"cuda must be a GPU that PyTorch finds here, but PyTorch .* for the CPU"):
        device_of("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(ConfigError, match=r"finds here, but it finds no GPU: there is no driver, or none is visible"):
        device_of("cuda")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda n: f"Card {n}")
    assert device_of("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigError, match=r"cuda:2 must be .*, but it finds cuda:0 \(Card 0\), cuda:1 \(Card 1\)\."):
        device_of("cuda:2")
    assert gpu_of("cuda:2") == {}
    assert [is_here(name) for name in ("cpu", "cuda", "cuda:1", "cuda:2")] == [True, True, True, False]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_run_on_a_gpu_that_is_not_there_fails_with_that_sentence(tmp_path: Path) -> None:
    spec = runs_of(load_study(str(study(tmp_path, "cuda"))))[0]
    result = attempt(spec, RunFolder(tmp_path, spec.key()))
    assert result["outcome"] == "failed"
    assert "study.device: cuda must be a GPU that PyTorch finds here" in result["error"]


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_run_on_a_gpu_is_that_on_the_cpu_and_goes_on_where_it_was_left(tmp_path: Path, precision: str) -> None:
    """Objectives to rounding, as far as rounding does not yet decide."""
    file = str(study(tmp_path, "cuda"))
    specs = [replace(spec, precision=precision) for spec in runs_of(load_study(file))]
    for spec in specs:
        at_home = RunFolder(tmp_path / "cpu", spec.key())
        attempt(replace(spec, device="cpu"), at_home)
        there = RunFolder(tmp_path / "gpu", spec.key())
        assert attempt(spec, there, checkpoint_every=0, limit=0)["outcome"] == ""
        result = attempt(spec, there)
        assert result["versions"]["gpu"] == torch.cuda.get_device_name()
        again = RunFolder(tmp_path / "again", spec.key())
        attempt(spec, again)
        pairs = zip(there.rows(), again.rows(), at_home.rows(), strict=True)
        for row, same, home in pairs:
            assert row["inner_iterations"] == same["inner_iterations"]
            assert row["validation_objective"] == pytest.approx(same["validation_objective"], rel=1e-6)
            close = 1e-8 if precision == "float64" else 1e-3
            assert row["validation_objective"] == pytest.approx(home["validation_objective"], rel=close)
