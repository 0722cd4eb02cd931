"""Text of claims: a table of the answers, and a sentence for each row."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from hfbench.config.measures import MEASURES
from hfbench.messages import level_text
from hfbench.report.comparison_text import cells, sentences
from hfbench.report.document import literal, row_of
from hfbench.report.grid import Pieces
from hfbench.report.wording import Name, Verdict, adjusted, bullets, grid_of, named, percent, stacked
from hfbench.statistics.claims import FAILS, HOLDS, OPEN, Claim, by_hypothesis

COLOURS = {HOLDS: "green", FAILS: "red"}
TONES = {HOLDS: "good", FAILS: "bad"}


def table(claims: Sequence[Claim], console: Console, variant: str = "") -> None:
    """Prints every claim on every task, within 80 columns."""
    usual = claims[0].comparison.level
    grid = grid_of(Text.assemble(("claims", "bold"), " · p after Holm over all of them", named(variant)))
    grid.add_column("claim", overflow="fold", min_width=10)
    grid.add_column("task", overflow="fold", min_width=8)
    for name in ("ratio", f"{level_text(usual)} CI", "p"):
        grid.add_column(name, justify="right")
    grid.add_column("verdict", min_width=12)
    grid.add_column("answer", no_wrap=True)
    for group in by_hypothesis(claims).values():
        for index, claim in enumerate(group):
            grid.add_row(*_row(claim, index == 0, usual), Text(claim.answer, style=COLOURS.get(claim.answer, "yellow")))
    console.print(grid)
    console.print(bullets(Text(" ".join(_explained(group))) for group in by_hypothesis(claims).values()))


def _explained(group: Sequence[Claim]) -> list[str]:
    """Details of answers that do not follow from the verdict alone."""
    said = [f"{title(group[0])}."]
    for claim in group:
        c = claim.comparison
        if _by_the_margin(claim):
            said.append(f"On {c.task}, {_excluded(claim)}.")
        elif claim.answer == OPEN and c.verdict == "equivalent":
            said.append(f"On {c.task}, the two are equivalent, and it is open which one is lower.")
        elif claim.answer == OPEN and not c.enough_solved:
            said.append(f"On {c.task}, too few pairs reached the target to say more.")
    return said


def _by_the_margin(one: Claim) -> bool:
    """True if the claim holds only because the method is not worse."""
    return one.answer == HOLDS and one.comparison.verdict.startswith("inconclusive") and not one.comparison.differs


def _excluded(one: Claim) -> str:
    assert one.p_not_worse is not None
    return f"worse by {percent(one.comparison.margin)} or more is excluded (one-sided {adjusted(one.p_not_worse)})"


def _row(one: Claim, first: bool, usual: float) -> tuple[str | Pieces, ...]:
    c = one.comparison
    return Name(one.hypothesis.name if first else ""), Name(c.task), *stacked(cells(c, usual)[:3]), Verdict(c.verdict)


def title(one: Claim) -> str:
    """The claim's name, and what it says."""
    return f"{one.hypothesis.name}: {meaning(one)}"


def meaning(one: Claim) -> str:
    """The claim in words, if the study has them, and the measure and relation it is about."""
    h = one.hypothesis
    expected = {"better": "less", "not-worse": "not more", "equivalent": "as much"}[h.expects]
    measured = f"{h.method} against {h.against} by {MEASURES[h.measure].title}, expected {expected}"
    return f"{h.says} ({measured})" if h.says else measured


def sentence(one: Claim) -> str:
    """The result on the task, and the answer to the claim."""
    c = one.comparison
    said = [sentences(c)]
    if _by_the_margin(one):
        said.append(f"W{_excluded(one)[1:]}.")
    return " ".join([*said, f"The claim {'is open' if one.answer == OPEN else one.answer}."])


def markdown(claims: Sequence[Claim]) -> str:
    """One table over all claims and tasks, names escaped."""
    usual = claims[0].comparison.level
    head = ("claim", "task", "ratio", f"{level_text(usual)} CI", "p Holm", "verdict", "answer")
    lines = ["### Claims", "", row_of(head), row_of(["---"] * len(head))]
    for claim in claims:
        c = claim.comparison
        row = map(literal, (claim.hypothesis.name, c.task, *cells(c, usual)[:3], c.verdict))
        lines.append(row_of((*row, f"**{claim.answer}**")))
    return (
        "\n".join([*lines, "", *(f"- {literal(title(group[0]))}" for group in by_hypothesis(claims).values())]) + "\n"
    )
