"""The figures of a study, each a function that writes a PNG and an SVG and returns their two paths.

Every function takes `methods`, the study's methods in their order, which decides each one's colour, dashes and marker:
figures given the same order agree.
"""

from hfbench.studies.figure_costs import profile, reached
from hfbench.studies.figure_curves import convergence, four_costs
from hfbench.studies.figure_forest import Row, comparison_rows, comparisons_forest, effect_rows, forest
from hfbench.studies.figure_images import reconstructions
from hfbench.studies.figure_interactions import interactions
from hfbench.studies.figure_iterations import batches, inner
from hfbench.studies.figure_memory import memory
from hfbench.studies.figure_style import Style, styles

__all__ = [
    "Row",
    "Style",
    "batches",
    "comparison_rows",
    "comparisons_forest",
    "convergence",
    "effect_rows",
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
