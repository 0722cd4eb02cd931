"""Damage and malice at random, from a seed: bytes of a file, and entries of tables and lists."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import torch

NAN, INF = math.nan, math.inf
# Values that some field or other does not expect.
PLAIN: tuple[Any, ...] = (
    None, True, 0, 1, -1, 2**31, 2**63, 10**30, 0.0, -0.0, 0.5, NAN, INF, -INF, 1e308, 5e-324, "", "x", "a/b",
    "../../x", "\0", "\x1b[2J", "x" * 3000, [], {}, [[]], [1, 2],
)  # fmt: skip


def spoilt(held: bytes, draw: random.Random) -> bytes:
    """Bytes with one to twenty changed, cut short, or with a stretch of them doubled.

    Most are changed near the beginning and the end, where the headers and directories are.
    """
    changed = bytearray(held)
    how = draw.choice(["flip", "flip", "flip", "cut", "double"])
    near_end = min(3000, len(held))
    places = [
        draw.choice([draw.randrange(len(held)), draw.randrange(min(6000, len(held))), -draw.randint(1, near_end)])
        for _ in range(draw.randint(1, 20))
    ]
    if how == "flip":
        for place in places:
            changed[place] = draw.randrange(256)
    elif how == "cut":
        del changed[places[0] :]
    else:
        at = places[0] % len(held)
        changed[at:at] = changed[at : at + draw.randint(1, 500)]
    return bytes(changed)


def mutate(values: Any, draw: random.Random, others: Sequence[Any] = PLAIN) -> None:
    """Replaces, removes or adds an entry somewhere in tables and lists."""
    place = values
    while True:
        key = draw.choice(list(place) if isinstance(place, dict) else list(range(len(place))))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.2:
            break
        place = inner
    how = draw.choice(["replace", "replace", "replace", "replace", "remove", "add", "number"])
    if how == "remove":
        del place[key]
    elif how == "add" and isinstance(place, dict):
        place[draw.choice(["more", "use", "name", "3"])] = draw.choice(others)
    elif how == "number" and isinstance(inner, int | float):
        place[key] = draw.choice([inner * 2, -inner, inner + 1, float(inner), inner / 3])
    elif isinstance(inner, torch.Tensor) and inner.numel() < 10**6 and draw.random() < 0.5:
        place[key] = draw.choice([inner * 2, inner[:0] if inner.dim() else inner, inner.double(), inner.int()])
    else:
        place[key] = draw.choice(others)
