"""The optical digits that scikit-learn brings: 1797 pictures of 8 × 8 pixels, without a download.

Source    Alpaydin and Kaynak (1998), "Optical recognition of handwritten digits", UCI repository (CC BY 4.0): its test
          file, of which scikit-learn ships a copy. Grey values 0 to 16
Split     the last 360 are the test cases; of the others some are drawn for validation
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from hfbench.errors import DataError

PIXELS = 64
TEST = 360
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def optical_digits() -> tuple[Tensor, Tensor]:
    """Pictures (1797 × 64, float32, in [0, 1]) and digits (1797,). Raises DataError if they are not the known ones."""
    from sklearn.datasets import load_digits  # a second of imports

    values, labels = load_digits(return_X_y=True)
    found = hashlib.sha256(values.astype("uint8").tobytes() + labels.astype("uint8").tobytes()).hexdigest()
    if found != SHA256:
        raise DataError(
            f"digits: scikit-learn's load_digits must give the known pictures, but their sha256 is {found}: install "
            "scikit-learn 1.x anew."
        )
    return torch.from_numpy(values / 16).float(), torch.from_numpy(labels).long()
