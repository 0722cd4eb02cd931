"""Description of the hardware that a run was made on, without anything that identifies its owner."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

import torch

UNITS = {  # flags of the processor, as Linux names them: units that multiply matrices, or vectors, in few bits
    "amx_bf16": "AMX bfloat16",
    "amx_int8": "AMX int8",
    "avx512_bf16": "AVX-512 bfloat16",
    "avx512_fp16": "AVX-512 float16",
    "bf16": "bfloat16",  # of Arm
}
GIB = 2**30


@cache
def hardware() -> dict[str, str]:
    """Processor, cores, matrix units, memory and library of matrix products; a GPU if there is one."""
    info = _cpuinfo()
    found = {
        "processor": _field(info, "model name") or platform.processor() or platform.machine(),
        "cores": str(cores()),
        "matrix_units": ", ".join(matrix_units(info)) or "none known",
        "memory": _memory(),
        "blas": _blas(),
    }
    return found | ({"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {})


def cores() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def matrix_units(info: str) -> list[str]:
    """Names of the units that the text of /proc/cpuinfo has flags for."""
    flags = set(f"{_field(info, 'flags')} {_field(info, 'Features')}".split())
    return [name for flag, name in UNITS.items() if flag in flags]


def _memory() -> str:
    import psutil

    return f"{psutil.virtual_memory().total / GIB:.0f} GiB"


def _blas() -> str:
    """The library that PyTorch multiplies matrices with."""
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else "unknown"


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""


def _field(info: str, name: str) -> str:
    found = re.search(rf"^{name}\s*: (.*)$", info, re.MULTILINE)
    return found[1].strip() if found else ""
