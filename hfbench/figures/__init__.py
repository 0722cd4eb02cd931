"""Figures of a study: functions that write a PNG and an SVG, within `also_in_pdf` a PDF too, and return the paths.

Every function takes `methods`, the study's methods in their order, which decides each one's colour, dashes and marker:
figures given the same order agree.
"""

from hfbench.figures.convergence import convergence, four_costs
from hfbench.figures.fields import fields
from hfbench.figures.forest import ForestRow, comparison_rows, comparisons_forest, effect_rows, forest
from hfbench.figures.interactions import interactions
from hfbench.figures.iterations import batches, inner
from hfbench.figures.memory import memory
from hfbench.figures.profiles import profile, reached
from hfbench.figures.reconstructions import reconstructions
from hfbench.figures.style import Style, also_in_pdf, styles

__all__ = [
    "ForestRow",
    "Style",
    "also_in_pdf",
    "batches",
    "comparison_rows",
    "comparisons_forest",
    "convergence",
    "effect_rows",
    "fields",
    "forest",
    "four_costs",
    "inner",
    "interactions",
    "memory",
    "profile",
    "reached",
    "reconstructions",
    "styles",
]
