"""Which precision is taken on which hardware, what is said where it is not there, and the setting's way to a run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from support.systems import inputs_for, network, targets_for
from support.tiny_study import specs, tiny

import hfbench
from hfbench.config.load import load_study
from hfbench.config.methods import MethodTable
from hfbench.errors import ConfigError
from hfbench.linalg import precision
from hfbench.linalg.precision import PRECISIONS, Precision, arithmetic, available, precision_of, sum_of_outer
from hfbench.tracking.params import flat_params

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
WEIGHT = torch.zeros(2)


class OnGpu:
    """A parameter as far as its device and dtype are looked at."""

    device, dtype = CUDA, torch.float32


@pytest.fixture
def without_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: False)
    monkeypatch.setattr(precision, "has_tf32", lambda device: False)


@pytest.fixture
def with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """bfloat16 is computed everywhere, fast or not."""
    monkeypatch.setattr(precision, "has_bfloat16", lambda device: True)


@pytest.mark.usefixtures("without_units")
def test_without_matrix_units_there_are_plain_dtypes() -> None:
    assert available(WEIGHT) == ["parameters", "auto", "float64", "float32"]
    assert precision_of("auto", WEIGHT) == precision_of("parameters", WEIGHT) == Precision(torch.float32)
    assert precision_of("float64", WEIGHT).name == "float64"
    assert precision_of("parameters", WEIGHT.double()).name == "float64"
    assert precision_of("float32", WEIGHT.double()).name == "float32"


@pytest.mark.usefixtures("with_units")
def test_auto_takes_bfloat16_where_there_are_units_for_it() -> None:
    assert precision_of("auto", WEIGHT) == precision_of("bfloat16", WEIGHT) == Precision(torch.bfloat16)
    assert precision_of("parameters", WEIGHT).name == "float32", "never without being asked"


@pytest.mark.usefixtures("without_units")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bfloat16", "bfloat16 needs matrix units for bfloat16 .*, which this CPU does not have; there are param"),
        ("tf32", "tf32 needs an NVIDIA GPU of compute capability 8 or more, which this CPU does not have"),
        ("bf16", r"must be one of parameters, auto, .* but got 'bf16'"),
    ],
)
def test_what_the_machine_has_not_is_refused(name: str, message: str) -> None:
    model, x, t = network((4, 3), 0), inputs_for(5, 4, 1), targets_for("logistic", 5, 3, 2)
    with pytest.raises(ConfigError, match=f"precision: {message}"):
        hfbench.linearize(model, "logistic", x, t, precision=name)
    with pytest.raises(ConfigError, match=f"precision: {message}"):
        hfbench.HessianFree(model, precision=name)


@pytest.mark.parametrize(
    ("supported", "mkldnn", "expected"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_cpu_needs_instructions_and_the_library_that_uses_them(
    monkeypatch: pytest.MonkeyPatch, supported: bool, mkldnn: bool, expected: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported)
    monkeypatch.setattr(precision, "_mkldnn_is_used", lambda: mkldnn)
    assert precision.has_bfloat16(CPU) == expected
    assert not precision.has_tf32(CPU)


@pytest.mark.parametrize(
    ("capability", "hip", "bfloat16", "tf32"),
    [((9, 0), None, True, True), ((8, 0), None, True, True), ((7, 5), None, False, False), ((9, 4), "6", True, False)],
)
def test_a_gpu_is_known_by_its_compute_capability(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], hip: str | None, bfloat16: bool, tf32: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    assert (precision.has_bfloat16(CUDA), precision.has_tf32(CUDA)) == (bfloat16, tf32)
    if tf32:
        assert precision_of("tf32", OnGpu()) == Precision(torch.float32, tf32=True)  # type: ignore[arg-type]
        assert precision_of("float32", OnGpu()) == Precision(torch.float32, tf32=False)  # type: ignore[arg-type]


def tf32_settings() -> list[object]:
    return [getattr(place, attribute) for place, attribute, _ in precision._places()]


@pytest.mark.parametrize("on", [True, False])
def test_tf32_is_switched_for_the_products_alone(on: bool) -> None:
    before = tf32_settings()
    with arithmetic(Precision(torch.float32, tf32=on), CUDA):
        assert tf32_settings() == [values[on] for _, _, values in precision._places()]
    assert tf32_settings() == before
    with pytest.raises(KeyError), arithmetic(Precision(torch.float32, tf32=on), CUDA):
        raise KeyError
    assert tf32_settings() == before
    for untouched in (Precision(torch.float32, tf32=on), CPU), (Precision(torch.bfloat16), CUDA):
        with arithmetic(*untouched):
            assert tf32_settings() == before
    assert torch.backends.cuda.matmul.allow_tf32 in (True, False), "the older switches can still be read"


# ---------------------------------------------------------------- sums over cases


@pytest.fixture
def made() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """d and a in bfloat16, and Σ_i d_i a_iᵀ of the same numbers in float64."""
    draw = torch.Generator().manual_seed(0)
    d, a = (torch.randn(300, width, generator=draw).bfloat16() for width in (70, 90))
    return d, a, d.double().T @ a.double()


def summed(d: torch.Tensor, a: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return sum_of_outer(d, a, torch.empty(d.shape[1], a.shape[1], dtype=dtype))


def relative(sums: torch.Tensor, exact: torch.Tensor) -> float:
    return float((sums.double() - exact).norm() / exact.norm())


@pytest.mark.skipif(
    not (precision.has_bfloat16(CPU) and hasattr(torch.backends.mkldnn, "matmul")),
    reason="this CPU and PyTorch cannot leave sums unrounded",
)
def test_sums_over_cases_are_not_rounded_to_bfloat16(made: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    d, a, exact = made
    assert relative(summed(d, a, torch.float32), exact) < 1e-6
    assert summed(d, a, torch.float64).dtype == torch.float64


def test_where_they_must_be_they_are(
    made: tuple[torch.Tensor, torch.Tensor, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: False)
    d, a, exact = made
    assert torch.equal(summed(d, a, torch.float32), (d.T @ a).float())
    assert 1e-4 < relative(summed(d, a, torch.float32), exact) < 1e-2


def test_other_dtypes_are_summed_in_their_own() -> None:
    d, a = torch.rand(50, 3, dtype=torch.float64), torch.rand(50, 2, dtype=torch.float64)
    assert torch.equal(summed(d, a, torch.float32), (d.T @ a).float())
    assert torch.equal(summed(d, a, torch.float64), d.T @ a)


@pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="a PyTorch without the setting")
@pytest.mark.parametrize("chosen", ["highest", "high", "medium"])
def test_float32_products_of_others_stay_as_they_are_set(chosen: str) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(chosen)
        summed(torch.ones(2, 2).bfloat16(), torch.ones(2, 2).bfloat16(), torch.float32)
        assert torch.get_float32_matmul_precision() == chosen
    finally:
        torch.set_float32_matmul_precision(before)


# ---------------------------------------------------------------- as a setting of methods


def test_a_method_may_have_any_precision() -> None:
    declared = get_args(get_type_hints(MethodTable, include_extras=True)["precision"])[1]
    assert tuple(declared.values) == PRECISIONS


ABLATION = """
[methods.low]
solver = "cg"
preconditioner = "martens"
scheduler = "fixed"
precision = "bfloat16"

[ablation]
from = "plain"
to = "low"
factors = ["precision"]
"""
HEAD = """
[study]
name = "digits-of-products"
tasks = ["curves-small"]
seeds = 2
baseline = "plain"

[methods.plain]
solver = "cg"
preconditioner = "martens"
scheduler = "fixed"
"""


def test_a_study_may_ablate_it(tmp_path: Path) -> None:
    file = tmp_path / "digits.toml"
    file.write_text(HEAD + ABLATION)
    study = load_study(str(file))
    assert {name: method.precision for name, method in study.methods.items()} == {
        "plain": "parameters",
        "low": "bfloat16",
    }
    assert study.ablation is not None
    assert study.ablation.values == {"precision": ("parameters", "bfloat16")}
    file.write_text(HEAD + ABLATION.replace('"bfloat16"', '"bfloat"'))
    with pytest.raises(ConfigError, match=re.escape("methods.low.precision: must be one of 'parameters', 'auto'")):
        load_study(str(file))


def test_it_is_in_the_key_of_a_run_and_apart_from_the_weights_precision(tmp_path: Path) -> None:
    plain = specs(tiny(tmp_path))["shf", 0]
    low = specs(tiny(tmp_path, "methods.shf.precision=bfloat16"))["shf", 0]
    assert plain.key() != low.key()
    params = flat_params(low.config())
    assert (params["precision"], params["product_precision"]) == ("float32", "bfloat16")
