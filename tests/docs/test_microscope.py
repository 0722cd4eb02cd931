"""The page about frozen systems says what the committed rows say."""

from __future__ import annotations

import re

import pytest
from sitegen import microscope_figures
from support.blocks import DOCS

PAGE = (DOCS / "explanation/microscope.md").read_text("utf-8")


@pytest.mark.parametrize("name", microscope_figures.tables())
def test_the_tables_are_those_of_the_rows(name: str) -> None:
    assert microscope_figures.tables()[name].strip() in PAGE


def test_the_figures_are_there() -> None:
    shown = set(re.findall(r"\.\./(figures/microscope-[\w-]+\.png)", PAGE))
    assert shown
    assert shown <= microscope_figures.drawn().keys()
