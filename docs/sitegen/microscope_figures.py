"""The figures of the page about frozen systems: those that the probes drew, committed beside their rows."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path(__file__).parents[2] / "studies/results/microscope"


def drawn() -> dict[str, Path]:
    """Every figure by its path in the site, `figures/microscope-<task>-<name>.png`."""
    return {f"figures/microscope-{file.parent.name}-{file.stem}.png": file for file in sorted(RESULTS.glob("*/*.png"))}
