"""Precision of curvature products: float64, float32, TF32 or bfloat16, if this machine has units for it.

A product J v, Jᵀu or G v may have another precision than the weights; gradient, objective, second moments and the
solvers' recurrences always have that of the weights. A solve that ends at a relative progress of 5e-4 needs few digits,
and matrix units for bfloat16 are several times faster than float32 arithmetic.

    parameters   the weights' dtype
    auto         bfloat16 if the device has matrix units for it, else the weights' dtype
    float64      53 bits; slower than float32
    float32      24 bits, never TF32
    tf32         11 bits in matrix products, operands and results in float32: NVIDIA GPUs from compute capability 8
    bfloat16     8 bits, sums in float32: AMX or AVX-512 BF16 on a CPU, NVIDIA from compute capability 8, AMD

Source: D. Kalamkar and others, A study of BFLOAT16 for deep learning training, arXiv 1905.12322.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hfbench.errors import ConfigError
from hfbench.setting_checks import one_of

PRECISIONS = ("parameters", "auto", "float64", "float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Precision:
    """Precision of products: the dtype of their tensors, and a switch for matrix products in TF32."""

    dtype: torch.dtype
    tf32: bool | None = None  # None: as PyTorch is set

    @property
    def name(self) -> str:
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")


def precision_of(name: str, parameter: Tensor) -> Precision:
    """The precision of that name for weights such as `parameter`.

    Raises ConfigError for an unknown name, and for bfloat16 or TF32 if the parameter's device has no matrix units for
    it.
    """
    check_precision(name)
    device = parameter.device
    if name == "auto":
        name = "bfloat16" if has_bfloat16(device) else "parameters"
    if name == "parameters":
        return Precision(parameter.dtype)
    if name == "bfloat16" and not has_bfloat16(device):
        raise ConfigError(_missing(name, "matrix units for bfloat16 (AMX, AVX-512 BF16, or a GPU's)", parameter))
    if name == "tf32":
        if not has_tf32(device):
            raise ConfigError(_missing(name, "an NVIDIA GPU of compute capability 8 or more", parameter))
        return Precision(torch.float32, tf32=True)
    return Precision(getattr(torch, name), tf32=False if name == "float32" and device.type == "cuda" else None)


def check_precision(name: str) -> str:
    """Returns one of PRECISIONS. Raises ConfigError for another name."""
    return one_of(name, PRECISIONS, "precision")


def available(parameter: Tensor) -> list[str]:
    """The names that `precision_of` takes for weights such as `parameter`."""
    units = {"bfloat16": has_bfloat16, "tf32": has_tf32}
    return [name for name in PRECISIONS if name not in units or units[name](parameter.device)]


def _missing(name: str, needed: str, parameter: Tensor) -> str:
    there = ", ".join(available(parameter))
    return (
        f"precision: {name} needs {needed}, which {_of(parameter.device)} does not have; there are {there}. Take "
        "'auto' for the fastest of the machine that a run is on."
    )


def _of(device: torch.device) -> str:
    return "this CPU" if device.type == "cpu" else f"the device {device}"


# ---------------------------------------------------------------- what the hardware has


def has_bfloat16(device: torch.device) -> bool:
    """True if PyTorch multiplies bfloat16 matrices on the device in dedicated units."""
    if device.type == "cpu":
        return _mkldnn_is_used() and _cpu_has_bfloat16()
    return device.type == "cuda" and (torch.version.hip is not None or _capability(device) >= (8, 0))


def has_tf32(device: torch.device) -> bool:
    """True if PyTorch can multiply float32 matrices on the device in TF32."""
    return device.type == "cuda" and torch.version.hip is None and _capability(device) >= (8, 0)


def _mkldnn_is_used() -> bool:
    mkldnn: Any = torch.backends.mkldnn
    return bool(mkldnn.is_available() and mkldnn.enabled)


def _cpu_has_bfloat16() -> bool:
    """True with AVX-512 BF16, which every CPU with AMX for bfloat16 has too."""
    return bool(torch.cpu._is_avx512_bf16_supported())


def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)


NARROW = 8000  # weights of a layer whose products are too small for fewer digits to save time


def dtype_of_layer(weights: int, own: torch.dtype, wanted: torch.dtype) -> torch.dtype:
    """The dtype of a layer's products: its own where the wanted one has fewer digits and the layer is narrow.

    All that an autoencoder learns goes through such a layer, its code.
    """
    has_fewer = torch.finfo(wanted).eps > torch.finfo(own).eps
    return own if has_fewer and weights <= NARROW else wanted


# ---------------------------------------------------------------- results in more digits than operands


def sum_of_outer(d: Tensor, a: Tensor, out: Tensor) -> Tensor:
    """out ← Σ_i d_i a_iᵀ over cases; d (cases × m) and a (cases × k) of one dtype, which may have fewer digits.

    A product of bfloat16 matrices is summed in float32 and then rounded to bfloat16. This error is equally large along
    directions in which G is small, and there an inner solve divides it by little more than lambda. On a CPU, PyTorch
    (from 2.9) can leave the sums unrounded: it multiplies float32 matrices by rounding them to bfloat16, which does not
    change these.
    """
    matmul = getattr(torch.backends.mkldnn, "matmul", None)
    if matmul and d.dtype == torch.bfloat16 and d.device.type == "cpu" and has_bfloat16(d.device):
        with _set([(matmul, "fp32_precision", "bf16")]):
            return _multiply(d.float().T, a.float(), out)
    return rounded_sum_of_outer(d, a, out)


def rounded_sum_of_outer(d: Tensor, a: Tensor, out: Tensor) -> Tensor:
    """The same, with sums rounded to the operands' dtype: half of the time in bfloat16, for what is divided by less."""
    return _multiply(d.T, a, out)


def _multiply(left: Tensor, right: Tensor, out: Tensor) -> Tensor:
    """out ← left right, in the dtype of these two if `out` has another."""
    return torch.mm(left, right, out=out) if left.dtype == out.dtype else out.copy_(left @ right)


# ---------------------------------------------------------------- TF32, a setting of the process


@contextmanager
def arithmetic(precision: Precision, device: torch.device) -> Iterator[None]:
    """Inside, float32 matrix products on a GPU are in TF32 or not, by the precision; the setting is restored after."""
    if precision.tf32 is None or device.type != "cuda":
        yield
        return
    with _set([(place, attribute, values[precision.tf32]) for place, attribute, values in _places()]):
        yield


def in_tf32() -> bool:
    """True if float32 matrix products on a GPU are now in TF32."""
    place, attribute, (_, on) = _places()[0]
    return bool(getattr(place, attribute) == on)


@contextmanager
def _set(settings: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """Inside, attributes have these values, which are restored after."""
    before = [getattr(place, attribute) for place, attribute, _ in settings]
    try:
        for place, attribute, value in settings:
            setattr(place, attribute, value)
        yield
    finally:
        for (place, attribute, _), value in zip(settings, before, strict=True):
            setattr(place, attribute, value)


def _places() -> list[tuple[Any, str, tuple[Any, Any]]]:
    """Places of PyTorch's setting for matrix products, convolutions and recurrences, with the values off and on."""
    backends: Any = torch.backends
    if hasattr(backends.cuda.matmul, "fp32_precision"):  # from PyTorch 2.9; reading the older switches may then raise
        places = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn)
        return [(place, "fp32_precision", ("ieee", "tf32")) for place in places]
    return [(place, "allow_tf32", (False, True)) for place in (backends.cuda.matmul, backends.cudnn)]
