"""The rule of verdicts: better, worse, equivalent or inconclusive."""

from __future__ import annotations

from hfbench.statistics.difference import Difference


def verdict(c: Difference, enough_solved: bool) -> str:
    """The rule, in this order: equivalent; better or worse, perhaps clearly; inconclusive.

    Two runs censored at tau tie, which must not pass for equivalence: hence the share of pairs both have solved.
    """
    if _below(c.p_tost_holm, c.alpha) and enough_solved:
        return "equivalent"
    if word := better_or_worse(c.p_holm, c.ratio, c.alpha):
        return f"clearly {word}" if c.beyond_margin else word
    return inconclusive(c.p_holm, "n too small")


def better_or_worse(p_holm: float | None, ratio: float, alpha: float) -> str:
    """ "better" or "worse" where the adjusted p is below alpha, by the side of 1 that the ratio is on; else ""."""
    if not _below(p_holm, alpha) or ratio == 1:
        return ""
    return "better" if ratio < 1 else "worse"


def inconclusive(p_holm: float | None, lack: str) -> str:
    """The word for neither, with what there was too little of where no p could have been below alpha."""
    return f"inconclusive ({lack})" if p_holm is None else "inconclusive"


def _below(p: float | None, alpha: float) -> bool:
    return p is not None and p < alpha
