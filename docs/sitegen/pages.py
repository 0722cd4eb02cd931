"""All pages and figures that are made, by their path in the site."""

from __future__ import annotations

from pathlib import Path

from . import (
    api_page,
    benchmark_figures,
    benchmark_page,
    cli_page,
    gallery,
    microscope_figures,
    parts,
    study_page,
    trace_page,
)

ROOT = Path(__file__).parents[2]


def generated() -> dict[str, str]:
    """The Markdown of every page that is not written by hand."""
    return {
        "explanation/benchmarks.md": benchmark_page.page(),
        "reference/cli.md": cli_page.page(),
        "reference/study-file.md": study_page.page(),
        "reference/trace.md": trace_page.page(),
        "reference/changelog.md": (ROOT / "CHANGELOG.md").read_text("utf-8").replace("](docs/", "](../"),
        **parts.pages(),
        **api_page.pages(),
    }


def figures() -> dict[str, Path]:
    """Every figure that is drawn, as a file."""
    return gallery.drawn() | benchmark_figures.drawn() | microscope_figures.drawn()
