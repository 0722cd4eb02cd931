"""Tensors and plain data that `torch.save` wrote, from a file that others may have made.

`torch.load` with `weights_only` executes no code, but it believes the sizes that a file states: a compressed entry
expands a thousandfold, one number is shown as a tensor of gigabytes, and a list that holds another one many times over
is longer than any memory. Here nothing is larger than the file.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from hfbench.records.files import DEEPEST

if TYPE_CHECKING:
    from torch import Tensor


def load_tensors(payload: bytes) -> Any:
    """The values in the payload. Raises ValueError if there is anything but tensors and plain data of its size."""
    import torch

    try:
        _check_entries(payload)
        values = torch.load(io.BytesIO(payload), weights_only=True)
    except ValueError:
        raise
    except Exception as error:  # what torch raises is not documented, and its advice is to execute the file's code
        raise ValueError("it holds something else than tensors and plain data") from error
    _check_values(values, len(payload))
    return values


def _check_entries(payload: bytes) -> None:
    """The zip file begins at the first byte, and holds its entries uncompressed, each once."""
    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        entries = archive.infolist()
    if not entries or min(entry.header_offset for entry in entries) != 0:
        raise ValueError("it does not begin with its first entry")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("one of its entries is compressed")
    stated = sum(max(entry.file_size, entry.compress_size) for entry in entries)
    if stated > len(payload):
        raise ValueError(f"its entries state {stated} bytes, more than the {len(payload)} that it has")


def _check_values(values: Any, most: int) -> None:
    """No tensor claims more memory than it was saved with, and there are at most `most` values, as each took a byte."""
    from torch import Tensor

    count, containers = 0, list[Iterator[Any]]([iter([values])])  # those that the present value lies in, half read
    while containers:
        for value in containers[-1]:
            count += 1
            if count > most:
                raise ValueError(f"it holds more values than it has bytes, {most}")
            if isinstance(value, Tensor):
                _check_memory(value)
            elif isinstance(value, dict | list | tuple | set):
                containers.append(chain(value, value.values()) if isinstance(value, dict) else iter(value))
                break
        else:
            containers.pop()
        if len(containers) > DEEPEST:
            raise ValueError(f"its values are nested more than {DEEPEST} levels")


def _check_memory(tensor: Tensor) -> None:
    import torch

    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_quantized:
        raise ValueError("one of its tensors is not dense")
    claimed, held = math.prod(tensor.shape) * tensor.element_size(), tensor.untyped_storage().nbytes()
    if claimed > held:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape[:8])} claims {claimed} bytes, but {held} are there")
