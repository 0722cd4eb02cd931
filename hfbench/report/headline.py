"""Headline of a study: who won, with the figure, in a line per task; for MLflow's pages and the start page.

A method wins against the baseline, which is what was tested; that it beats the others is not said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hfbench.config.measures import MEASURES
from hfbench.messages import count, printable
from hfbench.records.recorded_study import RecordedStudy
from hfbench.report.comparison_text import sentences
from hfbench.report.document import Piece, Strong, Text, inline_markdown, literal, pieces
from hfbench.report.wording import capital, looked_at, ratio_phrase, ratio_text, sureness
from hfbench.statistics.claims import Claim, by_hypothesis
from hfbench.statistics.comparisons import Comparison
from hfbench.statistics.findings import Findings


@dataclass(frozen=True)
class Headline:
    """A line that says it all, and the lines behind it, if there is more to say."""

    line: Text
    details: Sequence[Text] = ()


def headline(recorded: RecordedStudy, found: Findings) -> Headline:
    """Who won; of several tasks or declared claims, each in a word, with a line each behind it."""
    groups = [[c for c in found.comparisons if c.task == task] for task in recorded.study.tasks]
    groups = [group for group in groups if group]
    claims = list(by_hypothesis(found.claims).values())
    short = [(len(recorded.missing), "not recorded"), (len(recorded.failed), "failed")]
    told = " and ".join(f"{n} {how}" for n, how in short if n)
    lack = f" Of {count(len(recorded.specs), 'run')}, {told}." if told else ""
    if not groups:
        return Headline(f"Nothing is compared: {recorded.study.baseline} is the only method.{lack}")
    if len(groups) == 1 and not claims:
        return Headline((*_winner(groups[0]), lack))
    details: list[Text] = [*map(_answered, claims), *((f"On {group[0].task}: ", *_winner(group)) for group in groups)]
    line = [piece for claim in claims for piece in _answer(claim)]
    return Headline((*line, *_winners(groups), lack), details)


def _answered(group: Sequence[Claim]) -> Text:
    """A claim and its answer on every task."""
    first = group[0].hypothesis
    says = f" ({first.says})" if first.says else ""
    _, *answer = _answer(group)
    return (f"{first.name}{says}: ", *answer)


def _answer(group: Sequence[Claim]) -> Iterator[Piece]:
    """`lean holds on usps, open on mnist. `: the name, then its answers."""
    answers: dict[str, list[str]] = {}
    for claim in group:
        answers.setdefault(claim.answer, []).append(claim.comparison.task)
    yield f"{group[0].hypothesis.name} "
    for index, (answer, tasks) in enumerate(answers.items()):
        yield ", " if index else ""
        yield Strong(answer)
        yield f" on {', '.join(tasks)}" if len(answers) > 1 else ""
    yield ". "


def _winners(groups: Sequence[Sequence[Comparison]]) -> Iterator[Piece]:
    """`adam won on usps (0.19x), mnist (0.4x); hf won on addition (1.3x).`"""
    by_lead: dict[str, list[str]] = {}
    for group in groups:
        lead, told = _lead(group)
        ratio = "" if told is None else f" ({ratio_text(told.ratio_low, told.ratio_high)})"
        by_lead.setdefault(lead, []).append(f"{group[0].task}{ratio}")
    for index, (lead, tasks) in enumerate(by_lead.items()):
        yield "; " if index else ""
        yield Strong(lead)
        yield f" on {', '.join(tasks)}"
    yield "."


def _winner(group: Sequence[Comparison]) -> Iterator[Piece]:
    """Who won on a task, with the figure, then the other methods by their verdict."""
    lead, told = _lead(group)
    yield Strong(lead)
    yield f": {_figure(told)}." if told is not None else "."
    rest = [c for c in group if c is not told]
    for verdict in dict.fromkeys(c.verdict for c in rest):
        named = ", ".join(f"{c.method} {ratio_text(c.ratio_low, c.ratio_high)}" for c in rest if c.verdict == verdict)
        yield f" {capital(verdict)}: {named}."
    if preliminary := [said for said in looked_at(group[0]) if said.startswith("Preliminary")]:
        yield f" {preliminary[0]}"


def _lead(group: Sequence[Comparison]) -> tuple[str, Comparison | None]:
    """Who won, and the comparison that says so: the best of those that are better, else the baseline if all are worse.

    Methods in a tie with the baseline, or of which nothing is known, keep it from winning.
    """
    baseline = group[0].baseline
    better = [c for c in group if c.verdict.endswith("better")]
    if better:
        best = min(better, key=lambda c: (c.ratio_high, c.ratio_low))
        return f"{best.method} won", best
    if all(c.verdict.endswith("worse") for c in group):
        nearest = min(group, key=lambda c: (c.ratio_low, c.ratio_high))
        return f"{baseline} won", nearest
    if len(group) > 1:
        return f"No method won against {baseline}", None
    only = group[0]
    how = "are equivalent" if only.verdict == "equivalent" else "are undecided"
    return f"{only.method} and {baseline} {how}", only


def _figure(c: Comparison) -> str:
    """`0.71x the work of hf (95 % CI 0.63-0.81, Wilcoxon p_Holm = .016, 7 seeds): clearly better`.

    A method that did not win is named first.
    """
    measure, phrase = MEASURES[c.cost], ratio_phrase(c.ratio_low, c.ratio_high)
    if c.n and not c.unsolved and phrase:
        who = "" if c.verdict.endswith("better") else f"{c.method} {measure.verb} "
        sure = sureness(c)  # with n, where that is too small for the usual level
        about = ", ".join(sure if f"n = {c.n}" in sure else [*sure, count(c.n, "seed")])
        return f"{who}{phrase} {measure.noun} of {c.baseline} ({about}): {c.verdict}"
    said = sentences(c).partition(f": {c.verdict}.")[0]
    return f"{said.partition('), ')[2] or said.partition(', ')[2]}: {c.verdict}"


# ---------------------------------------------------------------- MLflow


def plain(text: Text) -> str:
    """A line without marks, for a tag: printable, but not escaped for any page."""
    return printable("".join(piece if isinstance(piece, str) else piece.text for piece in pieces(text)))


def headline_markdown(head: Headline, question: str) -> str:
    """The headline and the question as Markdown. MLflow shows the first line until the rest is asked for."""
    lines = [inline_markdown(line) for line in (head.line, *head.details)]
    return "\n\n".join([*lines, *([literal(question)] if question.strip() else [])])
