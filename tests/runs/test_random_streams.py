"""Named random streams: fixed for ever, and independent of one another."""

from __future__ import annotations

import hashlib

import torch

from hfbench.runs.random_streams import generator


def numbers(seed: int, stream: str) -> list[float]:
    return torch.rand(4, generator=generator(seed, stream)).tolist()


def test_same_name_same_numbers() -> None:
    assert numbers(3, "split") == numbers(3, "split")


def test_seeds_and_names_differ() -> None:
    streams = ("split", "weights", "batches/1", "probes")
    drawn = {tuple(numbers(seed, stream)) for seed in range(20) for stream in streams}
    assert len(drawn) == 80


def test_names_do_not_run_together() -> None:
    """Seed 1 with stream "1/x" is not seed 1/1 with stream "x"."""
    assert numbers(1, "batches/11") != numbers(1, "batches/1")
    assert numbers(1, "1") != numbers(11, "")


def test_drawing_from_one_stream_moves_no_other() -> None:
    torch.rand(100, generator=generator(0, "probes"))
    torch.manual_seed(0)
    first = numbers(0, "split")
    torch.manual_seed(1)
    assert numbers(0, "split") == first


def test_the_seed_is_the_digest() -> None:
    """Recorded results depend on it: 63 bits of sha256("seed/stream")."""
    digest = hashlib.sha256(b"7/weights").hexdigest()
    assert generator(7, "weights").initial_seed() == int(digest[:16], 16) >> 1
