"""Device of a run's model and data: the CPU or a GPU."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hfbench.errors import ConfigError
from hfbench.messages import quoted

if TYPE_CHECKING:
    import torch


def check_device(name: str) -> str:
    """Returns the name if it is cpu, cuda or cuda:<n>, present here or not. Raises ConfigError otherwise."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name):
        raise ConfigError(
            f"study.device: must be cpu, cuda (the first GPU that PyTorch sees) or cuda:<n>, but got {quoted(name)}."
        )
    return name


def is_here(name: str) -> bool:
    """True if this machine has the device."""
    import torch

    device = torch.device(name)
    return device.type == "cpu" or (device.index or 0) < torch.cuda.device_count()


def device_of(name: str) -> torch.device:
    """The device of that name. Raises ConfigError if this machine does not have it."""
    import torch

    if not is_here(name):
        raise ConfigError(
            f"study.device: {name} must be a GPU that PyTorch finds here, but {_found()}. Give another device, such as "
            "--set study.device=cpu, or run on a machine that has it."
        )
    return torch.device(name)


def gpu_of(name: str) -> dict[str, str]:
    """Name of the GPU for the records; empty for the CPU or an absent GPU."""
    import torch

    if name == "cpu" or not is_here(name):
        return {}
    return {"gpu": torch.cuda.get_device_name(name), "cuda": str(torch.version.cuda)}


def _found() -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return f"PyTorch {torch.__version__} was built for the CPU only"
    names = [f"cuda:{n} ({torch.cuda.get_device_name(n)})" for n in range(torch.cuda.device_count())]
    return f"it finds {', '.join(names)}" if names else "it finds no GPU: there is no driver, or none is visible"
