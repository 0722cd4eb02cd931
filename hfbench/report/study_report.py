"""Report of a study: the question, the answer in sentences, and the tables and figures behind it for each task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hfbench.config.measures import MEASURES
from hfbench.config.variant import seeds_remark
from hfbench.messages import count, level_text
from hfbench.records.recorded_study import RecordedStudy
from hfbench.report import claim_text, comparison_text, effect_text
from hfbench.report.document import (
    Block,
    Bullets,
    Document,
    Heading,
    ImageBlock,
    Paragraph,
    Strong,
    Table,
    Text,
    pieces,
)
from hfbench.report.doubts import doubts
from hfbench.report.reproduction import conduct, failed_note, missing_note
from hfbench.report.study_figures import Figure
from hfbench.report.wording import capital, interval_cell, is_bounded, p_value, percent, ratio_text
from hfbench.statistics.claims import Claim, by_hypothesis
from hfbench.statistics.comparisons import Comparison
from hfbench.statistics.exploratory import LEAST_TASKS, Exploratory
from hfbench.statistics.factorial import Effect
from hfbench.statistics.findings import Findings

TONES = {
    "better": "good", "worse": "bad", "equivalent": "same", "inconclusive": "open", "synergy": "good",
    "antagonism": "bad",
}  # fmt: skip
HELD = {
    "validation": "Targets are held on the validation error; the test error where it reached them is reported.",
    "test": "Targets are held on the test error itself.",
}
WITH_TABLES = ("forest", "effects", "interactions")  # kinds of figures that stand with their tables


def study_document(
    recorded: RecordedStudy, found: Findings, figures: Sequence[Figure], command: str, variant: str = ""
) -> Document:
    """The whole report; `command` made the runs, and `variant` says how the study differs from the one of its file."""
    study = recorded.study
    blocks: list[Block] = [Paragraph(study.question, "lead")] if study.question else []
    blocks += _about_variant(recorded, variant)
    blocks += [Paragraph(_extent(recorded), "note"), *missing_note(recorded, command), *failed_note(recorded)]
    blocks += [Paragraph(doubt, "warning") for doubt in doubts(recorded)]
    blocks += [Heading("Answer"), *_answer(recorded, found, figures)]
    for task in study.tasks:
        blocks += _of_task(recorded, found, figures, task)
    blocks += [Heading("All tasks"), *_of_all(recorded, found, figures)]
    blocks += [Heading("How it was done"), *conduct(recorded, command)]
    return Document(f"{study.name} ({variant})" if variant else study.name, blocks)


def _about_variant(recorded: RecordedStudy, variant: str) -> Iterator[Block]:
    """What the report covers, if that is not the study as its file has it."""
    asked = recorded.study.variant
    if variant:
        said = f"A variant of the study: {variant}. The report of the whole study, if there is one, is two folders up."
        yield Paragraph(said, "note")
    elif asked.extends_file:
        yield Paragraph(f"Seeds: {seeds_remark(asked)}.", "note")


def _extent(recorded: RecordedStudy) -> str:
    study, total = recorded.study, len(recorded.specs)
    sizes = (("task", len(study.tasks)), ("method", len(study.methods)))
    there = "all of them recorded" if not recorded.missing else f"{len(recorded.ended)} of them recorded"
    compared = ", ".join(count(n, noun) for noun, n in sizes)
    return (
        f"{compared}, {total} runs, {there}. Compared by {MEASURES[study.primary].title}, paired by seed; "
        f"equivalent means within {percent(study.margin)}; level {study.alpha:g} after Holm. {HELD[study.target_on]}"
    )


# ---------------------------------------------------------------- the answer


def _answer(recorded: RecordedStudy, found: Findings, figures: Sequence[Figure]) -> Iterator[Block]:
    if found.claims:
        yield from _claims(found.claims)
        yield Heading(f"Every method against {recorded.study.baseline}", 3)
    if found.comparisons:
        yield Bullets(
            [
                judged_text(comparison_text.sentences(comparison), comparison.verdict)[0]
                for comparison in found.comparisons
            ]
        )
        yield from figure_images(figures, "forest")
    else:
        yield Paragraph(f"There is no comparison: {recorded.study.baseline} is the only method.")
    if found.effects:
        yield Heading("Factors and their interactions", 3)
        sentences = [(effect_text.sentence(effect, found.names), effect.verdict) for effect in found.effects]
        yield Bullets([judged_text(sentence, verdict)[0] for sentence, verdict in sentences])
        yield from figure_images(figures, "effects")


def _claims(claims: Sequence[Claim]) -> Iterator[Block]:
    """The declared hypotheses: a table of all answers, then each one with its evidence."""
    first = claims[0].comparison
    yield Heading("The claims", 3)
    head = ("claim", "task", "ratio", f"{level_text(first.level)} CI", "p Holm", "verdict", "answer")
    rows: list[list[Text]] = []
    for claim in claims:
        c = claim.comparison
        answer = Strong(claim.answer, claim_text.TONES.get(claim.answer, "open"))
        rows.append(
            [claim.hypothesis.name, c.task, *comparison_text.cells(c, first.level)[:3], marked(c.verdict), answer]
        )
    about = f"Declared beforehand, one family of {first.family}; p of a difference, or of equivalence where equivalent."
    yield Table(head, rows, about, numbers=2, words=2)
    for group in by_hypothesis(claims).values():
        yield Paragraph((Strong(group[0].hypothesis.name), f": {claim_text.meaning(group[0])}"))
        judged = [judged_text(claim_text.sentence(claim), claim.comparison.verdict) for claim in group]
        yield Bullets([(*pieces(said), f" {remarks}") for said, remarks in judged])


def judged_text(sentence: str, verdict: str) -> tuple[Text, str]:
    """A sentence with its verdict emphasised, and the remarks after it."""
    before, _, remarks = sentence.partition(f": {verdict}.")
    return (f"{before}: ", marked(verdict), "."), remarks.strip()


def marked(verdict: str) -> Strong:
    """A verdict in its colour."""
    return Strong(verdict, next(tone for word, tone in TONES.items() if word in verdict))


def figure_images(figures: Sequence[Figure], kind: str, task: str = "") -> Iterator[ImageBlock]:
    for figure in figures:
        if (figure.kind, figure.task) == (kind, task):
            where = f"{task}: " if task else ""
            alt = f"Figure {kind}. {where}{figure.about}"
            yield ImageBlock(figure.png, figure.svg, where + figure.about, alt, figure.pdf)


# ---------------------------------------------------------------- one task


def _of_task(recorded: RecordedStudy, found: Findings, figures: Sequence[Figure], task: str) -> Iterator[Block]:
    yield Heading(f"Task {task}")
    compared = [comparison for comparison in found.comparisons if comparison.task == task]
    if compared:
        yield from _comparisons(recorded, compared)
    elif recorded.study.on[task].methods == (recorded.study.baseline,):
        yield Paragraph(f"Only {recorded.study.baseline} is run here, so that nothing is compared.", "note")
    factors = [effect for effect in found.effects if effect.task == task]
    if factors:
        yield from _factors(factors, found, figures)
    explored = [ratio for ratio in found.secondary if ratio.task == task]
    if explored:
        yield from _explored(explored, recorded)
    drawn = list(_other_figures(figures, task))
    if drawn:
        yield Heading("Course of the runs", 3)
        yield from drawn


def _comparisons(recorded: RecordedStudy, group: Sequence[Comparison]) -> Iterator[Block]:
    first = group[0]
    yield Heading(f"Against {first.baseline}", 3)
    head = ("method", "ratio", f"{level_text(first.level)} CI", "p Holm", "w/l/t", "solved", "verdict")
    rows: list[list[Text]] = [
        [comparison.method, *comparison_text.cells(comparison, first.level), marked(comparison.verdict)]
        for comparison in group
    ]
    about = f"{capital(MEASURES[first.cost].title)}, ratio to {first.baseline}. Below 1 is cheaper."
    counted = "w/l/t: seeds won, lost and tied, and ? undecided; solved: seeds at the target, method/baseline."
    told = comparison_text.endings(group)
    yield Table(head, rows, " ".join([about, counted, *([f"{capital(told)}."] if told else [])]), words=1)
    remarks = [
        (Strong(comparison.method), f": {said}")
        for comparison in group
        if (said := judged_text(comparison_text.sentences(comparison), comparison.verdict)[1])
    ]
    if remarks:
        yield Bullets(remarks, "note")
    yield _medians(recorded, group)


def _medians(recorded: RecordedStudy, group: Sequence[Comparison]) -> Table:
    found = comparison_text.medians(recorded.judged, group)
    rows: list[list[Text]] = [[row["method"], *comparison_text.median_cells(row)] for row in found]
    about = ["Medians over seeds; seconds, products and errors are those of whole runs."]
    if recorded.study.target_on == "validation":
        about.append("Test error at target: where the validation error reached it, of the runs that did.")
    about.append("Stopped early: the test error where the validation error was least.")
    about.append(comparison_text.hardware_sentence(recorded.judged, group[0].task))
    return Table(("method", *comparison_text.median_heads(found, 1)), rows, " ".join(about).rstrip(), name="medians")


def _factors(group: Sequence[Effect], found: Findings, figures: Sequence[Figure]) -> Iterator[Block]:
    first = group[0]
    yield Heading("Factors and their interactions", 3)
    head = ("effect", "ratio", f"{level_text(first.level)} CI", *effect_text.HEAD, "verdict")
    rows: list[list[Text]] = [
        [" × ".join(effect.factors), *effect_text.cells(effect, first.level), marked(effect.verdict)]
        for effect in group
    ]
    about = (
        f"{capital(MEASURES[first.cost].title)} over the {first.cells} cells of the factorial, {first.n} seeds. "
        "A main effect is the ratio by which changing the factor multiplies the cost. "
        "An interaction (×) is the cost of changing both, "
        "over the cost if their effects multiplied. w/l/t: seeds below, above and at 1; cut off: runs without the "
        "target."
    )
    yield Table(head, rows, about, words=1)
    remarks = [
        (Strong(" × ".join(effect.factors)), f": {said}")
        for effect in group
        if (said := judged_text(effect_text.sentence(effect, found.names), effect.verdict)[1])
    ]
    if remarks:
        yield Bullets(remarks, "note")
    yield from figure_images(figures, "interactions", first.task)


def _explored(group: Sequence[Exploratory], recorded: RecordedStudy) -> Iterator[Block]:
    """Methods by measures; no p values, since these questions were not the study's."""
    yield Heading("Exploratory: other measures", 3)
    measures = [name for name in MEASURES if any(ratio.measure == name for ratio in group)]
    cells = {(ratio.method, ratio.measure): ratio for ratio in group}
    most = max(ratio.n for ratio in group)
    methods = [name for name in recorded.study.methods if any(ratio.method == name for ratio in group)]
    usual = min((ratio.ci_level for ratio in group if ratio.n == most), default=1 - recorded.study.alpha)
    rows = [
        [method, *(_explored_cell(cells.get((method, name)), most, usual) for name in measures)] for method in methods
    ]
    about = (
        f"Ratios to {group[0].baseline} with {level_text(usual)} intervals, over {most} pairs unless n is given. "
        "Costs are those to the target; a run that missed it bounds its ratio by the cost it spent. A test error of 0 "
        "bounds it by what one test case with an error adds to it. "
        "–: no data. Not adjusted for their number, hence no verdicts."
    )
    yield Table(("method", *(MEASURES[name].short for name in measures)), rows, about)


def _explored_cell(one: Exploratory | None, most: int, usual: float) -> str:
    if one is None or (ratio := ratio_text(one.ratio_low, one.ratio_high).removesuffix("x")) == "–":
        return "–"
    few = f" (n = {one.n})" if one.n < most else ""
    bounded = is_bounded(one.ci_low, one.ci_high)
    ends = f" [{interval_cell(one.ci_low, one.ci_high, one.ci_level, usual)}]" if bounded else ""
    return f"{ratio}{ends}{few}"


# ---------------------------------------------------------------- all tasks


def _of_all(recorded: RecordedStudy, found: Findings, figures: Sequence[Figure]) -> Iterator[Block]:
    tasks = len(recorded.study.tasks)
    if found.overall:
        usual = 1 - recorded.study.alpha
        head = ("method", "tasks", "ratio", f"{level_text(usual)} CI", "p Holm", "verdict")
        rows: list[list[Text]] = [
            [overall.method, str(overall.tasks), ratio_text(overall.ratio_low, overall.ratio_high),
             interval_cell(overall.ci_low, overall.ci_high, overall.ci_level, usual), p_value(overall.p_holm),
             marked(overall.verdict)]
            for overall in found.overall
        ]  # fmt: skip
        yield Table(head, rows, "Each task counts once, by its mean log ratio.", words=1)
    elif tasks > 1:
        yield Paragraph(
            f"There is no verdict across tasks: it takes {LEAST_TASKS} tasks, and there are {tasks}.", "note"
        )
    yield from _other_figures(figures)


def _other_figures(figures: Sequence[Figure], task: str = "") -> Iterator[ImageBlock]:
    """The figures of a task, or of all tasks, that belong to no table, in drawing order."""
    for kind in dict.fromkeys(figure.kind for figure in figures if figure.task == task):
        if kind not in WITH_TABLES:
            yield from figure_images(figures, kind, task)
