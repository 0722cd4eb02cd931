"""Final weights of a run as safetensors, a format of tensors alone: written with whose they are, checked when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hfbench.errors import StoreError
from hfbench.messages import quoted
from hfbench.records.files import decoding, json_object

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS = "weights.safetensors"  # in a run's folder
RUN = "run"  # the entry of the metadata that says whose they are: with several the library writes them in any order
LARGEST_HEADER = 4 << 20  # bytes, of which a tensor takes about 100


def identity_of(key: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Whose the weights are."""
    return {"key": key, "task": config["task"], "method": config["method"]["name"], "seed": config["seed"]}


def weights_bytes(tensors: Mapping[str, Any], run: Mapping[str, Any]) -> bytes:
    """The file of a run's weights: the tensors of a model's state by their names, in their precision."""
    import torch
    from safetensors.torch import save

    held = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
        if torch.is_tensor(tensor)
    }
    written: bytes = save(held, metadata={RUN: json.dumps(run, sort_keys=True)})
    return written


def read_weights(held: bytes, file: str, run: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors in the file of that run's weights. Raises StoreError for anything else."""
    from safetensors.torch import load

    size = int.from_bytes(held[:8], "little")
    if size > min(LARGEST_HEADER, len(held) - 8):
        raise StoreError(f"{file} must hold weights, but states a header of {size} bytes of its {len(held)}.")
    whose = json_object(held[8 : 8 + size], file).get("__metadata__")
    stated = whose.get(RUN) if isinstance(whose, dict) else None
    if not isinstance(stated, str) or json_object(stated, file) != dict(run):
        raise StoreError(f"{file} must hold the weights of run {run['key']}, but is of {quoted(stated)}.")
    with decoding(file, "a readable file of weights"):
        tensors: dict[str, Tensor] = load(held)
    return tensors


def check_fit(tensors: Mapping[str, Tensor], model: nn.Module, file: str) -> None:
    """Raises StoreError unless the weights are those of such a model: names, shapes and precision."""
    import torch

    wanted = {name: tensor for name, tensor in model.state_dict().items() if torch.is_tensor(tensor)}
    for name in (*wanted, *tensors):
        found, must = _kind(tensors.get(name)), _kind(wanted.get(name))
        if found != must:
            raise StoreError(f"{file} must fit the model of its task: {quoted(name)} must be {must}, but is {found}.")


def _kind(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"
