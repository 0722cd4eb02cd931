"""Hardware of a run: read from the system, named without its owner."""

from __future__ import annotations

import platform

from hfbench.runs.hardware import hardware, matrix_units


def test_hardware_is_described_without_the_machines_name() -> None:
    found = hardware()
    assert found.keys() >= {"processor", "cores", "matrix_units", "memory", "blas"}
    assert all(found.values())
    assert platform.node() not in " ".join(found.values())
    assert int(found["cores"]) >= 1
    assert float(found["memory"].removesuffix(" GiB")) > 0


def test_matrix_units_are_read_from_the_flags() -> None:
    info = "model name\t: Abacus\nflags\t\t: fpu amx_bf16 avx512_bf16x avx512_bf16\n"
    assert matrix_units(info) == ["AMX bfloat16", "AVX-512 bfloat16"]
    assert matrix_units("Features\t: fp asimd bf16\n") == ["bfloat16"]
    assert matrix_units("") == []
