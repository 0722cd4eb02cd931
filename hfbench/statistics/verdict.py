"""The rule of verdicts: better, worse, equivalent or inconclusive."""

from __future__ import annotations

from hfbench.statistics.difference import Difference


def verdict(c: Difference) -> str:
    """The rule, in this order: equivalent; better or worse, perhaps clearly; inconclusive.

    A method may be better and equivalent at once: surely cheaper, and by less than the margin. `Difference.differs`
    says the first whatever comes out here.
    """
    if c.p_tost_holm is not None and c.p_tost_holm < c.alpha:
        return "equivalent"
    if word := c.differs:
        return f"clearly {word}" if c.beyond_margin else word
    if c.unknown and c.n >= c.least_pairs:  # not for want of seeds
        return "inconclusive"
    return inconclusive(c.p_holm, "n too small")


def inconclusive(p_holm: float | None, lack: str) -> str:
    """The word for neither, with what there was too little of where no p could have been below alpha."""
    return f"inconclusive ({lack})" if p_holm is None else "inconclusive"
