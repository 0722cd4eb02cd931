"""Description of the machine that figures were taken on, with its software."""

from __future__ import annotations

import platform

import torch

from hfbench.runs.hardware import hardware


def describe(threads: int) -> dict[str, str | int]:
    """Processor, its cores and matrix units, GPU if any, versions and threads."""
    known = hardware()
    found: dict[str, str | int] = {
        "processor": known["processor"],
        "cores": int(known["cores"]),
        "matrix units": known["matrix_units"],
    }
    if "gpu" in known:
        found["GPU"] = known["gpu"]
    system = {"system": platform.system(), "Python": platform.python_version(), "torch": torch.__version__}
    return {**found, **system, "threads": threads}
