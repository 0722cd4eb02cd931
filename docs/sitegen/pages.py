"""The pages of docs/ that are made from the code, and how they are written."""

from __future__ import annotations

from . import api_page, benchmark_figures, benchmark_page, cli_page, parts, result_tables, study_page, trace_page
from .outside import DOCS
from .prose import MADE

MARK = f"{MADE} `python -m docs.sitegen`: change the code, not this page. -->\n\n"


def generated() -> dict[str, str]:
    """The Markdown of every page that is not written by hand, by its path below docs/."""
    made = {
        "explanation/benchmarks.md": benchmark_page.page(),
        "reference/cli.md": cli_page.page(),
        "reference/study-file.md": study_page.page(),
        "reference/trace.md": trace_page.page(),
        **parts.pages(),
        **api_page.pages(),
    }
    return {path: f"{MARK}{text.rstrip()}\n" for path, text in made.items()}


def write() -> list[str]:
    """Writes whatever is not as the code has it, and gives the paths below docs/."""
    texts = generated() | result_tables.filled()
    stale = [path for path, text in texts.items() if not _is_current(path, text)]
    for path in stale:
        (DOCS / path).parent.mkdir(parents=True, exist_ok=True)
        (DOCS / path).write_text(texts[path], encoding="utf-8")
    return [*stale, *benchmark_figures.write()]


def _is_current(path: str, text: str) -> bool:
    file = DOCS / path
    return file.is_file() and file.read_text("utf-8") == text
