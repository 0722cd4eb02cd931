"""Small MNIST files of made-up pictures, under the real names and with checksums of their own."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hfbench.tasks import mnist, mnist_class, mnist_conv


def idx(array: NDArray[np.uint8]) -> bytes:
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, train: int, test: int, labels: tuple[int, int] | None = None
) -> dict[str, NDArray[np.uint8]]:
    """Writes the four files into a data folder, and has the tasks accept them; the labels are pixel 0 of the picture.

    `labels` for other numbers of labels than of pictures.
    """
    rng = np.random.default_rng(0)
    arrays: dict[str, NDArray[np.uint8]] = {}
    for name, cases, given in zip(("TRAIN", "TEST"), (train, test), labels or (train, test), strict=True):
        pictures = rng.integers(0, 256, size=(cases, 28, 28), dtype=np.uint8)
        pictures[:, 0, 0] = rng.integers(0, 10, size=cases)
        arrays[name], arrays[f"{name}_LABELS"] = pictures, np.resize(pictures[:, 0, 0], given)
    for name, array in arrays.items():
        _replaced(name, idx(array), folder, monkeypatch)
    monkeypatch.setattr(mnist_conv.MNISTConv, "files", (mnist_conv.TRAIN, mnist_conv.TEST))
    return arrays


def _replaced(name: str, content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (mnist, mnist_class, mnist_conv):
        if hasattr(module, name):
            own = replace(getattr(module, name), sha256=hashlib.sha256(content).hexdigest(), urls=())
            monkeypatch.setattr(module, name, own)
            own.below(folder).parent.mkdir(exist_ok=True)
            own.below(folder).write_bytes(content)
