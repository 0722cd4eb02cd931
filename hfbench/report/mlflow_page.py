"""A study's page in MLflow and its line on the start page, as the study begins, is interrupted or is judged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hfbench.config.study import Study
from hfbench.messages import ranges
from hfbench.records.judgements import Judgement
from hfbench.records.recorded_study import RecordedStudy
from hfbench.report.document import literal, pieces, row_of
from hfbench.report.headline import Headline, headline, headline_markdown, plain
from hfbench.statistics.findings import Findings
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.study_page import ANSWER, JUDGED, QUESTION, STATUS, TASKS, last_answer, write_page
from hfbench.tracking.study_view import View, page_path, study_views

EM_SPACE = "&emsp;"  # the character itself would be trimmed
RULE = re.compile(r"[|: -]+$")  # below the head of a table


def write_judged(tracker: Tracker, recorded: RecordedStudy, found: Findings, variant: str = "") -> None:
    """Writes the answer of a judged study above its runs; of a variant with its name."""
    head = headline(recorded, found)
    if variant:
        head = replace(head, line=(f"{variant}: ", *pieces(head.line)))
    write_answer(tracker, recorded.study, head, views_of(tracker, recorded.study))


def write_answer(tracker: Tracker, study: Study, head: Headline, views: Sequence[View]) -> None:
    """Writes the headline, and links to the views of the tasks."""
    _write(tracker, study, head, views, {ANSWER: plain(head.line), STATUS: JUDGED})


def write_status(tracker: Tracker, study: Study, status: str, views: Sequence[View]) -> None:
    """Writes the state of a study that is not judged yet, `Under way, 3 of 14 runs recorded`, and its last verdict."""
    before = last_answer(tracker)
    said = f"{status}. The last verdict: {before}" if before else f"{status}; there is no verdict yet."
    _write(tracker, study, Headline(said), views, {STATUS: status})


def views_of(tracker: Tracker, study: Study) -> list[View]:
    return study_views(tracker.parent, list(study.tasks), study.primary, study.target_on)


def judgement_history(judgements: Sequence[Judgement]) -> str:
    """A table of all judgements of a study; empty if there is only the present one."""
    if len(judgements) < 2:
        return ""
    rows = [
        (judgement.when[:16].replace("T", " "), name, ranges(judged.seeds), judged.verdict)
        for judgement in reversed(judgements)
        for name, judged in judgement.judged.items()
    ]
    table = [("judged (UTC)", "", "seeds", "verdict"), ("---",) * 4, *(tuple(map(literal, row)) for row in rows)]
    return "\n".join(["### All judgements, the last first", "", *(row_of(row) for row in table)])


def spaced(note: str) -> str:
    """A note with room between the columns of its tables, which MLflow's page draws without any."""
    return "\n".join(
        re.sub(r" \| (?=.)", f"{EM_SPACE} | ", line) if line.startswith("| ") and not RULE.match(line) else line
        for line in note.splitlines()
    )


def _write(tracker: Tracker, study: Study, head: Headline, views: Sequence[View], about: Mapping[str, str]) -> None:
    """Writes the page; a variant changes nothing of what is said of a judged study."""
    if not tracker.speaks:
        return
    paths = {view.task: page_path(tracker.experiment, view.key) for view in views if view.task}
    links = " · ".join(f"[{literal(task)}]({path})" for task, path in paths.items())
    shown = [headline_markdown(head, study.question), *([f"By task: {links}"] if links else [])]
    known = {QUESTION: plain(study.question), TASKS: "\n".join(paths)}
    write_page(tracker, views, "\n\n".join(shown), {**known, **about})
