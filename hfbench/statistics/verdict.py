"""The rule of verdicts: better, worse, equivalent or inconclusive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfbench.statistics.difference import Difference

if TYPE_CHECKING:
    pass


def verdict(c: Difference, enough_solved: bool) -> str:
    """The rule, in this order: equivalent; better or worse, perhaps clearly; inconclusive.

    Two runs censored at tau tie, which must not pass for equivalence: hence the share of pairs both have solved.
    """
    if _below(c.p_tost_holm, c.alpha) and enough_solved:
        return "equivalent"
    if _below(c.p_holm, c.alpha) and c.ratio < 1:
        return "clearly better" if c.beyond_margin else "better"
    if _below(c.p_holm, c.alpha) and c.ratio > 1:
        return "clearly worse" if c.beyond_margin else "worse"
    return "inconclusive (n too small)" if c.p_holm is None else "inconclusive"


def _below(p: float | None, alpha: float) -> bool:
    return p is not None and p < alpha
