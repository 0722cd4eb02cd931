"""Named random streams: a seed fixes split, initial weights, batch order and probes, each by a separate stream.

All methods of a study share a seed's streams, so that runs are paired; drawing more from one stream changes no other.
"""

from __future__ import annotations

import hashlib

import torch


def generator(seed: int, stream: str) -> torch.Generator:
    """A CPU generator seeded by the first 63 bits of sha256("seed/stream")."""
    digest = hashlib.sha256(f"{seed}/{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
