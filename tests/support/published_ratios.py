"""Ratios that pages quote, and those that published studies have."""

from __future__ import annotations

import re

from sitegen import result_tables
from sitegen.formulas import PIECE

STUDIES = {  # by page: the studies whose numbers it may quote
    "paper": ["paper"],
    "thresholds": ["thresholds-frozen"],
    "architectures": ["architectures"],
    "race": ["race", "race-elsewhere", "race-ablation", "race-first"],
    "physics": ["physics"],
    "tuned": ["tuned-frozen"],
    "precision": ["precision"],
    "mnist-full": ["mnist-full"],
    "microscope": [],
}
EVERY = sorted({study for studies in STUDIES.values() for study in studies})
RATIO = re.compile(r"[≤≥]?\d[\d.]*(?:-\d[\d.]*)?x(?: \([≤≥]?[\d.]+(?:-[\d.]+)?\))?(?!\w)")
KINDS = ("comparisons", "claims", "effects", "secondary")


def published(study: str) -> set[str]:
    """Every ratio of a study as pages show it, with its interval and without."""
    found = result_tables.comparisons(study)
    ratios = [result_tables.parts(row) for kind in KINDS for row in found[kind]]
    return {shown for ratio, ends in ratios for shown in (ratio, ratio + ends)}


def quoted(text: str) -> list[str]:
    """The ratios in the prose of a page; its tables are held by `docs.sitegen`."""
    prose = PIECE.sub("", re.sub(r"<!-- table: .*?<!-- end -->", "", text, flags=re.DOTALL))
    return RATIO.findall(prose.replace("*", ""))
