"""Bound on what a compressed file may expand to: a bomb of some kilobytes holds gigabytes."""

from __future__ import annotations

MB = 1 << 20
ALWAYS, RATIO, LARGEST = 64 * MB, 200, 2048 * MB  # bytes: always allowed, for each byte of the file, and at most


def check_expansion(size: int, held: int) -> None:
    """Raises ValueError if a file of `held` bytes must not expand to `size` bytes."""
    allowed = min(LARGEST, max(ALWAYS, RATIO * held))
    if size > allowed:
        raise ValueError(
            f"it expands to {size / MB:.0f} MiB, more than the {allowed / MB:.0f} MiB allowed for a file of "
            f"{held / MB:.2g} MiB"
        )
