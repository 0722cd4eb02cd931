"""Report of a sweep: frozen settings and the reasons, importance of settings, and carry-over."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hfbench.config.measures import MEASURES
from hfbench.config.search_ranges import searched, shown
from hfbench.config.sweep import extent_text
from hfbench.messages import count, level_text
from hfbench.report.comparison_text import cells as cells_of
from hfbench.report.comparison_text import sentences
from hfbench.report.document import (
    Block,
    Bullets,
    Code,
    Document,
    Heading,
    ImageBlock,
    Paragraph,
    Piece,
    Table,
    Text,
    pieces,
)
from hfbench.report.headline import Headline
from hfbench.report.study_figures import Figure
from hfbench.report.study_report import judged_text, marked
from hfbench.report.wording import digits, ratio_text
from hfbench.statistics.comparisons import Comparison
from hfbench.sweep.carry_over import Cell
from hfbench.sweep.equal_tuning import tuned_alike
from hfbench.sweep.frozen_studies import frozen_name
from hfbench.sweep.sampling import sampler_text
from hfbench.sweep.trial_rows import LEAST_TRIALS, OF_A_MISS, at_ends, front
from hfbench.sweep.trials import COMPLETE, FAILED, PRUNED

if TYPE_CHECKING:
    from hfbench.sweep.outcome import SweepOutcome, TaskOutcome
    from hfbench.sweep.retest import Winner

YARDSTICKS = {"defaults": "the untuned method", "own": "the settings tuned on the task itself"}


def sweep_document(found: SweepOutcome) -> Document:
    """The whole report."""
    blocks: list[Block] = [Paragraph(found.study.question, "lead")] if found.study.question else []
    blocks += [Paragraph(f"A variant of the study: {found.variant}.", "note")] if found.variant else []
    blocks += [Heading("Answer"), *_answer(found)]
    several = len(found.study.sweeps) > 1
    blocks += list(tuned_alike(found)) if several else []
    for outcome in found.swept:
        task = outcome.task
        heading = f"{task.method.name}, tuned on {task.name}" if several else f"Tuned on {task.name}"
        blocks += [Heading(heading), *_of_task(found, outcome)]
    if found.compared.cells:
        blocks += [Heading("Carry-over" if len(found.study.tasks) > 1 else "On fresh seeds"), *_carry_over(found)]
    blocks += [Heading("How it was done"), *_conduct(found)]
    named = f" ({found.variant})" if found.variant else ""
    return Document(f"{found.study.name}: the sweep{named}", blocks)


def answer_alone(found: SweepOutcome) -> Document:
    """The answer of the report, for MLflow's description."""
    return Document(f"{found.study.name}: the sweep", [*_answer(found)])


def sweep_headline(found: SweepOutcome) -> Headline:
    """What was frozen on every task, and where it serves: for the page in MLflow."""
    told_of = [told(outcome)[0] for outcome in found.swept]
    carried = _all_carried(found)
    if found.compared.said is not None:
        return Headline(found.compared.said.line, [*found.compared.said.details, *told_of, *carried])
    if len(told_of) == 1:
        return Headline(told_of[0], carried)
    line = "; ".join(f"{outcome.task.label}: {_frozen(outcome.frozen)}" for outcome in found.swept)
    return Headline(f"Frozen on {line}.", [*told_of, *carried])


def _frozen(winner: Winner | None) -> str:
    """`trial 4 (0.46x)`, the ratio on fresh seeds; `nothing` where the method is kept as it is."""
    if winner is None or winner.kept:
        return "nothing"
    ratio = next(candidate.retest for candidate in winner.candidates if candidate.index == winner.index)
    return f"trial {winner.index} ({digits(math.exp(ratio))}x)"


# ---------------------------------------------------------------- the answer


def _answer(found: SweepOutcome) -> Iterator[Block]:
    if found.compared.tuned:
        yield Paragraph("Tuned alike, each method with what was frozen, on seeds that the tuning has not used:")
        yield Bullets([_judged(c) for c in found.compared.tuned])
    yield Bullets([" ".join(told(outcome)) for outcome in found.swept])
    for outcome in found.swept:
        shares = found.shares.get(outcome.task.label, {})
        if shares or len(found.study.sweeps) == 1:
            yield Paragraph(_matters(outcome, shares))
    if found.compared.cells:
        yield Bullets(_all_carried(found))


def _judged(c: Comparison) -> Text:
    """A comparison in words, its verdict emphasised."""
    said, remarks = judged_text(sentences(c), c.verdict)
    return (*pieces(said), f" {remarks}" if remarks else "")


def _all_carried(found: SweepOutcome) -> list[Text]:
    several = len(found.study.sweeps) > 1
    places = dict.fromkeys((cell.method, cell.tuned_on) for cell in found.compared.cells)
    return [
        _carried([cell for cell in found.compared.cells if cell.method == method], task, method if several else "")
        for method, task in places
    ]


def told(one: TaskOutcome) -> list[str]:
    """The frozen settings of a task, their ratio in the re-test, and the optimism of the tuning's winner."""
    task, sweep = one.task, one.task.sweep
    done = [trial for trial in one.trials.values() if trial.ended]
    states = {state: sum(trial.state == state for trial in done) for state in (COMPLETE, PRUNED, FAILED)}
    place = f"On {task.name}" if task.label == task.name else task.label
    made = f"{place}, {count(len(done), 'trial')} ({states[COMPLETE]} complete, {states[PRUNED]} ended early"
    said = [made + (f", {states[FAILED]} failed)" if states[FAILED] else ")")]
    if one.frozen is None:
        return [said[0] + "; with several objectives nothing is frozen: choose from the front."]
    frozen, cost = one.frozen, MEASURES[sweep.objectives[0]].noun
    if not frozen.candidates:
        able = "complete" if sweep.constraint is None else "complete and keeps the constraint"
        return [f"{said[0]}; none after the first is {able}, so {task.method.name} is kept unchanged."]
    winner = min(frozen.candidates, key=lambda of: (of.tuning, of.index))
    seeds = count(len(sweep.retest), "fresh seed")
    if frozen.kept:
        best = f"none of the best {len(frozen.candidates)} was better than {task.method.name} unchanged"
        said[0] += f"; {best} on {seeds}, so that is kept."
    else:
        chosen = next(candidate for candidate in frozen.candidates if candidate.index == frozen.index)
        took = f"on {seeds} it took {digits(math.exp(chosen.retest))}x {cost} of {task.method.name}"
        said[0] += f"; trial {frozen.index} is frozen: {took}."
    gap = math.exp(-frozen.optimism)
    then, again = digits(math.exp(winner.tuning)), digits(math.exp(winner.retest))
    how = f", {100 * abs(gap - 1):.0f} % {'more' if gap > 1 else 'less'}" if then != again else ""
    said.append(
        f"The winner of the tuning, trial {winner.index}, took {then}x there and {again}x on the fresh seeds{how}."
    )
    edges = at_ends(frozen.params, sweep.parameters)
    if edges and not frozen.kept:
        close = ", ".join(f"{path} {shown(frozen.params[path])} at {shown(end)}" for path, end in edges.items())
        said.append(f"Close to the end of the search range, so extend it: {close}.")
    return said


def _matters(one: TaskOutcome, shares: Any) -> str:
    """The settings by importance, exploratory."""
    where = f" on {one.task.name}" if one.task.label == one.task.name else f" for {one.task.label}"
    if not shares:
        what = f"{LEAST_TRIALS} trials with scores that differ, and two settings"
        return f"Importance{where} is not estimated: it takes {what}; there are {len(one.points)} trials."
    said = []
    for name, share_of in shares.items():
        ranked = sorted(share_of, key=lambda setting: -share_of[setting])[:3]
        said.append(f"{name} {', '.join(f'{setting} {100 * share_of[setting]:.0f} %' for setting in ranked)}")
    return f"Importance{where}, exploratory and without a test: {'; '.join(said)}."


def _carried(cells: Sequence[Cell], task: str, method: str) -> Text:
    """Carry-over of the settings tuned on a task, of a method if several are tuned."""
    said: list[Piece] = [f"{method} tuned on {task}." if method else f"Tuned on {task}."]
    for against, yardstick in YARDSTICKS.items():
        chosen = [cell for cell in cells if (cell.tuned_on, cell.against) == (task, against)]
        if chosen:
            said += [f" Against {yardstick}: ", *_by_verdict(chosen)]
    return tuple(said)


def _by_verdict(cells: Sequence[Cell]) -> list[Piece]:
    groups: dict[str, list[str]] = {}
    for cell in cells:
        c = cell.comparison
        groups.setdefault(c.verdict, []).append(f"{cell.run_on} {ratio_text(c.ratio_low, c.ratio_high)}")
    said: list[Piece] = []
    for verdict, places in groups.items():
        said += [marked(verdict), f" on {', '.join(places)}; "]
    return [*said[:-1], f"{str(said[-1]).removesuffix('; ')}."]


# ---------------------------------------------------------------- a task


def _of_task(found: SweepOutcome, one: TaskOutcome) -> Iterator[Block]:
    parameters = one.task.sweep.parameters
    if one.frozen is not None:
        frozen = one.frozen.params
        table = [
            [path, shown(one.task.first[path]), shown(frozen[path]), searched(search)]
            for path, search in parameters.items()
        ]
        yield Table(("setting", "untuned", "frozen", "searched"), table, words=1)
        yield from _candidates(one)
    else:
        yield _front(one)
    yield from _pictures([figure for figure in found.figures if figure.task == one.task.label])


def _candidates(one: TaskOutcome) -> Iterator[Block]:
    assert one.frozen is not None
    table: list[list[Text]] = []
    for candidate in one.frozen.candidates:
        name = f"{candidate.index}, frozen" if candidate.index == one.frozen.index else str(candidate.index)
        table.append(
            [
                name,
                f"{digits(math.exp(candidate.tuning))}x",
                f"{digits(math.exp(candidate.retest))}x",
                _settings(candidate.params),
            ]
        )
    if table:
        sweep = one.task.sweep
        seeds = f"tuned on {count(len(sweep.seeds), 'seed')}, re-tested on {len(sweep.retest)} others"
        caption = (
            f"The best of the complete trials, ratios to {one.task.method.name} unchanged, {seeds}. A run that "
            f"missed its target {OF_A_MISS}."
        )
        if any(MEASURES[measure].resolution for measure in sweep.measures):
            caption += " A ratio to an error of 0 is a bound: it counts as what one case with an error adds to it."
        yield Table(("trial", "tuned", "tested again", "settings"), table, caption, words=1, name="tested again")


def _front(one: TaskOutcome) -> Table:
    names = [MEASURES[objective].title for objective in one.task.sweep.objectives]
    again, table = one.retested(), list[list[Text]]()
    for point in front(one.points):
        ratios = [*map(_ratio, point.ratios), *map(_ratio, again.get(point.index, [math.nan] * len(names)))]
        table.append([str(point.index), *ratios, _settings(point.params)])
    caption = f"The trials that no other beats in every objective, ratios to {one.task.method.name} unchanged."
    return Table(("trial", *names, *(f"{name}, again" for name in names), "settings"), table, caption, words=1)


def _ratio(given: float) -> str:
    return f"{digits(given)}x" if math.isfinite(given) else "–"


def _settings(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} {shown(given)}" for path, given in params.items())


def _carry_over(found: SweepOutcome) -> Iterator[Block]:
    several = len(found.study.sweeps) > 1
    for against, said in YARDSTICKS.items():
        chosen = [cell for cell in found.compared.cells if cell.against == against]
        if chosen:
            usual = chosen[0].comparison.level
            table: list[list[Text]] = [
                [
                    *([cell.method] * several), cell.tuned_on, cell.run_on,
                    *cells_of(cell.comparison, usual)[:3], marked(cell.comparison.verdict),
                ]
                for cell in chosen
            ]  # fmt: skip
            primary = MEASURES[found.study.primary].title.capitalize()
            caption = f"{primary}, ratio to {said}, on seeds that the tuning has not used."
            places = (*(["method"] * several), "tuned on", "run on")
            head = (*places, "ratio", f"{level_text(usual)} CI", "p Holm", "verdict")
            yield Table(head, table, caption, numbers=len(places), words=1)
    methods = dict.fromkeys(cell.method for cell in found.compared.cells)
    frozen = ", ".join(frozen_name(found.study, method) for method in methods)
    yield Paragraph(f"Each of these comparisons in words, with its figures: the report of {frozen}.")
    yield from _pictures([figure for figure in found.figures if not figure.task])


def _conduct(found: SweepOutcome) -> Iterator[Block]:
    study, sweep = found.study, found.study.sweeps[0]
    bound = sweep.constraint
    samplers = dict.fromkeys(sampler_text(each) for each in study.sweeps)
    yield Code(found.command)
    ends = extent_text(sweep)
    facts = [
        ("each method has, on each task", ends),
        ("objective", ", ".join(MEASURES[objective].title for objective in sweep.objectives)),
        ("constraint", "none" if bound is None else f"{MEASURES[bound.measure].title} at most {bound.at_most:g}x"),
        ("seeds of the trials", ", ".join(map(str, sweep.seeds))),
        ("seeds of the re-test", ", ".join(map(str, sweep.retest))),
        ("seeds of the comparison", ", ".join(map(str, study.seeds))),
        ("sampler", f"{' or '.join(samplers)}; trial i depends on the trials up to i - {sweep.ahead}"),
        ("pruner", sweep.pruner),
    ]
    yield Table(("", ""), facts, numbers=2)
    yield Paragraph("The trials do not depend on the number of processes, nor on interruptions.")
    for paragraph in study.notes.split("\n\n"):
        if paragraph.strip():
            yield Paragraph(" ".join(paragraph.split()))


def _pictures(figures: Sequence[Figure]) -> Iterator[Block]:
    for figure in figures:
        where = f"{figure.task}: " if figure.task else ""
        alt = f"Figure {figure.kind}. {where}{figure.about}"
        yield ImageBlock(figure.png, figure.svg, where + figure.about, alt, figure.pdf)
