"""Conclusion of a study: judges, draws, prints, and writes to the results folder and MLflow."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from hfbench.config.study import Study, to_dict
from hfbench.config.variant import seeds_remark, seeds_text
from hfbench.interrupts import raise_if_interrupted
from hfbench.messages import count, printable_line, wrap_text
from hfbench.records.files import copy_files, make_folder, write_atomically, write_bytes, write_json
from hfbench.records.judgements import FILE, Judgement, judged_before, remember
from hfbench.records.recorded_study import RecordedStudy, missing_runs
from hfbench.records.study_home import StudyHome, home_of
from hfbench.report import (
    claim_text,
    document,
    effect_text,
    finding_tables,
    html,
    latex,
    mlflow_page,
    study_figures,
    study_report,
)
from hfbench.report.comparison_text import markdown, table
from hfbench.report.doubts import doubts
from hfbench.report.study_figures import Figure
from hfbench.statistics.extensions import judged_now, with_first_verdicts
from hfbench.statistics.findings import Findings, findings_of
from hfbench.tracking.local_store import is_behind_server, tracking_uri
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.study_page import page_address

OTHERS = ("claims", "effects", "secondary", "across_tasks")  # tables beside the verdicts
REPORT = "report"  # name of its files
LONGEST = 1000  # characters of an error on the screen
NOTE = 8000  # characters of a tag


@dataclass(frozen=True)
class Conclusion:
    """Findings of a study that are written, with the folder they are in."""

    recorded: RecordedStudy
    found: Findings
    place: StudyHome
    figures: Sequence[Figure]
    command: str  # that makes the runs, from here
    unlogged: str  # why MLflow does not have it yet; empty if it has
    page: str  # address of the study in MLflow, where it is logged

    @property
    def folder(self) -> Path:
        return self.place.folder

    @property
    def failed(self) -> list[str]:
        """One line per failed run."""
        return self.recorded.with_outcome("failed")


def command_of(study: Study, options: Sequence[str] = (), results: Path | None = None) -> str:
    """The command that makes the study's runs, given the options that decide which runs these are.

    Seeds that an earlier command was given are among them. With `results` as it is typed here: the study's file where
    it is, and that folder. Reports, which are read elsewhere, have neither.
    """
    name = study.name if study.source == "shipped" else study.source if results else Path(study.source).name
    seeds = ["--seeds", seeds_text(study.variant.seeds)] if study.variant.remembered else []
    folder = [] if results in (None, Path("results")) else ["--results", str(results)]
    return shlex.join(["hfbench", "run", name, *options, *seeds, *folder])


def conclude(
    recorded: RecordedStudy,
    tracker: Tracker | None,
    options: Sequence[str] = (),
    console: Console | None = None,
    in_latex: bool = False,
    jobs: int = 1,
) -> Conclusion:
    """Judges the study, draws it, and writes all to `<results>/studies/<study>/` and, given a tracker, to MLflow.

    A variant of the study has a folder of its own there, and shares the history of judgements; a study judged from an
    archive is a variant of the one that was run. Home and MLflow keep the report and the verdict of the whole study,
    once there is one. `options` are those of the command line that decide which runs belong to the study. A console
    that is a terminal shows how far the drawing is, in so many processes as there are `jobs`. `in_latex` asks for
    report.tex and for figures as PDF; a report.tex that is there is kept up to date.
    """
    place = home_of(recorded.study, recorded.results, recorded.archive)
    in_latex = latex.is_wanted(in_latex, place, REPORT)
    folder = make_folder(place.folder, recorded.results)
    speaks = place.speaks_for_the_study
    before, found = judged_before(place.home), findings_of(recorded)
    judged = judged_now(recorded, found)
    found = with_first_verdicts(found, judged, before, recorded.study)
    figures = study_figures.draw_figures(recorded, found, folder, console, in_latex, jobs)
    remember(place.home, before, recorded.study.looks, judged)
    written = [
        *write_tables(recorded, found, folder, place.variant),
        *write_report(recorded, found, figures, command_of(recorded.study, options), place, in_latex),
    ]
    if place.differences and speaks:
        _remove_tables(place.home, keep=written)
        copy_files(written, place.home)
        study_figures.copy_figures(figures, place.home)
        latex.list_latex(place.home, REPORT, written)
    unlogged = ""
    try:
        if tracker is not None and speaks:
            drawn = [path for figure in figures for path in figure.paths]
            artifacts = [place.home / FILE, *written, *drawn]
            _log(tracker, recorded, found, judged_before(place.home), artifacts, place.variant)
        elif tracker is not None:
            tracker.close(_status(recorded))
    except Exception as error:  # the report on disk is complete: a busy or unreachable store must not cost the verdict
        unlogged = f"{type(error).__name__}: {printable_line(str(error), LONGEST)}"
    page = page_address(tracker) if tracker is not None else ""
    command = command_of(recorded.study, options, recorded.results)
    return Conclusion(recorded, found, place, figures, command, unlogged, page)


def write_tables(recorded: RecordedStudy, found: Findings, folder: Path, variant: str = "") -> list[Path]:
    """Writes study.json, comparisons.json, runs.parquet, and a file such as verdicts.parquet per table with rows."""
    import pandas as pd

    study_file, comparisons_file = folder / "study.json", folder / "comparisons.json"
    tables = finding_tables.tables(found)
    write_json(study_file, to_dict(recorded.study))
    rows = {name: tables.get(name, []) for name in OTHERS}
    ended = {str(name): int(n) for name, n in recorded.runs["outcome"].value_counts(sort=False).items()}
    counts = {**ended, "missing": len(recorded.missing)}
    whose = {"study": recorded.study.name, **({"variant": variant} if variant else {})}
    compared = {**whose, "runs": counts, "comparisons": tables.get("verdicts", []), **rows}
    write_json(comparisons_file, compared)
    frames = {"runs": recorded.runs, **{name: pd.DataFrame(rows) for name, rows in tables.items()}}
    files = {folder / f"{name}.parquet": frame for name, frame in frames.items()}
    _remove_tables(folder, keep=list(files))
    for file, frame in files.items():
        write_atomically(file, frame.to_parquet)
    return [study_file, comparisons_file, *files]


def _remove_tables(folder: Path, keep: Sequence[Path]) -> None:
    """Removes the tables that an earlier invocation wrote of other runs."""
    kept = {file.name for file in keep}
    for name in (f"{kind}.parquet" for kind in ("verdicts", *OTHERS)):
        if name not in kept:
            (folder / name).unlink(missing_ok=True)


def write_report(
    recorded: RecordedStudy,
    found: Findings,
    figures: Sequence[Figure],
    command: str,
    place: StudyHome,
    in_latex: bool = False,
) -> list[Path]:
    """Writes report.html, which needs no other file, and report.md, which refers to the figures in its folder.

    In LaTeX it is report.tex, which also refers to files of its tables.
    """
    said = study_report.study_document(recorded, found, figures, command, place.variant)
    texts = {
        place.folder / f"{REPORT}.html": html.html_page(said),
        place.folder / f"{REPORT}.md": document.document_markdown(said),
    }
    for file, text in texts.items():
        write_bytes(file, text.encode())
    return [*texts, *(latex.write_latex(said, place.folder, REPORT) if in_latex else [])]


# ---------------------------------------------------------------- MLflow


def _log(
    tracker: Tracker,
    recorded: RecordedStudy,
    found: Findings,
    judgements: Sequence[Judgement],
    artifacts: Sequence[Path],
    variant: str,
) -> None:
    """Logs verdicts, their history and files to the parent run, and each child's verdict as a tag, to group by."""
    study = recorded.study
    whose = f"Of the variant {document.literal(variant)}." if variant else ""
    claims = claim_text.markdown(found.claims) if found.claims else ""
    effects = effect_text.markdown(found.effects, found.names) if found.effects else ""
    said = [document.literal(study.question), whose, claims, markdown(found.comparisons), effects]
    compared = {(c.task, c.method): (c.verdict, c.metrics()) for c in found.comparisons}
    runs = ((key, recorded.specs[key]) for key in recorded.ended)
    raise_if_interrupted()
    tracker.judge({key: compared.get((run.task, run.method.name), ("baseline", {})) for key, run in runs})
    raise_if_interrupted()
    tracker.log_study(
        note=shortened(mlflow_page.spaced("\n\n".join([*said, mlflow_page.judgement_history(judgements)]))),
        metrics=finding_tables.metrics(found),
        tags=finding_tables.tags(found),
        artifacts=artifacts,
        status=_status(recorded),
    )
    mlflow_page.write_judged(tracker, recorded, found, variant)


def _status(recorded: RecordedStudy) -> str:
    """Status of the study's run in MLflow."""
    return "FAILED" if recorded.failed else "KILLED" if recorded.missing else "FINISHED"


def shortened(note: str) -> str:
    """The first lines of a note, as many as MLflow stores."""
    if len(note) <= NOTE:
        return note
    rest = "\n\n… The rest is in report.md, under Artifacts."
    return note[: note.rindex("\n", 0, NOTE - len(rest))] + rest


# ---------------------------------------------------------------- the screen


def show_conclusion(conclusion: Conclusion, console: Console) -> None:
    """Prints the verdicts, the failed, missing and left-out runs, and the paths of all files."""
    recorded, found, variant = conclusion.recorded, conclusion.found, conclusion.place.variant
    console.print()
    table(found.comparisons, console, recorded.judged, variant)
    if found.effects:
        effect_text.table(found.effects, found.names, console, variant)
    if found.claims:
        claim_text.table(found.claims, console, variant)
    for line, details in zip(conclusion.failed, recorded.details, strict=True):
        console.print(printable_line(f"failed: {line}", LONGEST), style="red", highlight=False, soft_wrap=True)
        if details.exists():
            console.print(f"  details in {details}", highlight=False, soft_wrap=True)
    if recorded.failure:
        console.print(recorded.failure, highlight=False, soft_wrap=True)
    for line in [*doubts(recorded), *gaps(recorded, conclusion.command), *lost_weights(recorded, conclusion.command)]:
        console.print(line, highlight=False, soft_wrap=True)
    if conclusion.unlogged:
        console.print(f"The verdict is not in MLflow yet; the same command logs it: {conclusion.unlogged}")
    console.print("\n".join(_where(conclusion, console.width)), highlight=False, soft_wrap=True)


def gaps(recorded: RecordedStudy, command: str) -> list[str]:
    """The missing runs, with the command for them, and the records that are left out."""
    absent = recorded.missing
    if not absent:
        return recorded.others.sentences()
    lines = [f"{len(absent)} of {len(recorded.specs)} runs are not recorded; `{command}` runs them:"]
    return [*lines, *(f"  {line}" for line in missing_runs(absent)), *recorded.others.sentences()]


def lost_weights(recorded: RecordedStudy, command: str) -> list[str]:
    """A sentence on the runs whose weights are missing, with the command that makes them again."""
    n = len(recorded.without_weights)
    if not n:
        return []
    why = "recorded before keep_weights was set, or their files were removed"
    again = "makes these runs again, and sets their records aside: what they cost in seconds will be another"
    return [f"{n} of {count(len(recorded.ended), 'run')} have no weights: {why}. `{command} --make-weights` {again}."]


def _variant(conclusion: Conclusion) -> list[str]:
    """Lines on a report that is not that of the whole study, or of more seeds than its file has."""
    place, variant = conclusion.place, conclusion.recorded.study.variant
    if place.differences:
        return [f"variant  {variant_remark(place, 'report.html')}"]
    return [f"seeds    {seeds_remark(variant)}"] if variant.extends_file else []


def variant_remark(place: StudyHome, name: str) -> str:
    """What the report `name` of a variant is of, and where that of the whole study lies."""
    other = f"that of the whole study is {place.home / name}" if place.is_judged else "the whole study has none yet"
    return f"{place.variant}: this report has a folder of its own, {other}"


def _where(conclusion: Conclusion, width: int) -> list[str]:
    results = conclusion.recorded.results
    variant = [wrap_text(line, width, " " * 9) for line in _variant(conclusion)]
    lines = [f"report   {conclusion.folder / 'report.html'}", *variant]
    if (written := conclusion.folder / f"{REPORT}.tex").exists():
        lines.append(f"LaTeX    {written}")
    if (first := study_figures.first_to_open(conclusion.figures)) is not None:
        lines.append(f"figure   {first.png}")
    lines += [f"runs     {results / 'runs'}", f"MLflow   {tracking_uri(results)}"]
    if not is_behind_server(tracking_uri(results)):
        lines += [f"browse   {shlex.join(['hfbench', 'ui', '--results', str(results)])}"]
    return lines + ([f"page     {conclusion.page}"] if conclusion.page else [])
