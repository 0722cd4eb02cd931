"""The page on records names everything that is recorded."""

from __future__ import annotations

import re
from pathlib import Path

from hfbench.records.recorded_study import RESULT_COLUMNS

PAGE = (Path(__file__).parents[2] / "docs/reference/records.md").read_text()


def named(heading: str) -> set[str]:
    """The names in the first column of the table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return set(re.findall(r"`(\w+)`", "".join(rows)))


def test_every_field_of_a_result_is_explained() -> None:
    assert named("Fields of a result") - {"versions", "hardware", "outcome"} == set(RESULT_COLUMNS) - {
        "outcome",
        "error",
    }
