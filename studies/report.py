"""What a study found: the verdicts printed, drawn, and written beside the runs and to MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from hfbench.config import Study, to_dict
from hfbench.runspec import RunSpec
from hfbench.store import RunFolder, make_folder, safe_name, write_atomically, write_json
from hfbench.tracking import Tracker, tracking_uri

from .figures import convergence
from .significance import Comparison, compare
from .verdicts import markdown, rows, table

if TYPE_CHECKING:
    import pandas as pd

LIMITS = {"work_to_target": "passes", "products_to_target": "products", "seconds_to_target": "seconds"}
RESULT_COLUMNS = (
    "key", "study", "task", "method", "seed", "outcome", "error", "work", "products", "seconds", "distinct",
    "iterations", "work_to_target", "products_to_target", "seconds_to_target", "distinct_to_target", "final_test_error",
    "final_validation_error", "final_objective", "peak_memory", "threads",
)  # fmt: skip


@dataclass(frozen=True)
class Conclusion:
    """What was found, recorded already, and where."""

    comparisons: Sequence[Comparison]
    runs: pd.DataFrame
    failed: Sequence[str]  # one line per failed run
    results: Path
    folder: Path
    figures: Sequence[Path]
    unlogged: str  # why MLflow does not have it yet; empty if it has


def conclude(study: Study, specs: Mapping[str, RunSpec], results: Path, tracker: Tracker) -> Conclusion:
    """Compares, draws, and writes it all to `<results>/studies/<study>/` and the MLflow parent run."""
    folder = make_folder(results / "studies" / safe_name(study.name))
    runs = records(study, specs, results)
    comparisons = compare_runs(study, specs, runs)
    figures = draw(study, specs, results, folder)
    files = write_report(study, runs, comparisons, folder)
    broken = runs[runs["outcome"] == "failed"]
    failed = [f"{run['method']}/{run['task']}/s{run['seed']}: {run['error']}" for _, run in broken.iterrows()]
    unlogged = ""
    try:
        tracker.log_study(
            note=f"{escape_markdown(study.question)}\n\n{markdown(comparisons)}",
            metrics=_metrics(comparisons) | {f"runs/{name}": n for name, n in runs["outcome"].value_counts().items()},
            tags={f"verdict/{one.task}/{one.method}-vs-{one.baseline}": one.verdict for one in comparisons},
            artifacts=[*files, *figures],
            status="FAILED" if failed else "FINISHED",
        )
    except Exception as error:  # the report on disk is complete: a busy or unreachable store must not cost the verdict
        unlogged = f"{type(error).__name__}: {error}"
    return Conclusion(comparisons, runs, failed, results, folder, figures, unlogged)


def show(conclusion: Conclusion, console: Console) -> None:
    """Prints the verdicts, what failed, and where everything is."""
    console.print()
    table(conclusion.comparisons, console, conclusion.runs)
    for line in conclusion.failed:
        console.print(escape(f"failed: {line}"), style="red")
    if conclusion.unlogged:
        console.print(escape(f"The verdict is not in MLflow yet, the same command logs it: {conclusion.unlogged}"))
    console.print(_where(conclusion), highlight=False, soft_wrap=True)


def records(study: Study, specs: Mapping[str, RunSpec], results: Path) -> pd.DataFrame:
    """One row per ended run of the study, the columns of result.json; a run may have been made for another study."""
    import pandas as pd

    ended = [result for key in specs if (result := RunFolder(results, key).result()) is not None]
    frame = pd.DataFrame(ended).reindex(columns=list(RESULT_COLUMNS))
    frame["study"] = study.name
    return frame


def compare_runs(study: Study, specs: Mapping[str, RunSpec], runs: pd.DataFrame) -> list[Comparison]:
    """Every method against the study's baseline, censored at the budget."""
    limit = LIMITS.get(study.primary, "")
    budget = {spec.task: spec.budget.get(limit) for spec in specs.values()}
    return compare(
        runs,
        study.baseline,
        primary=study.primary,
        budget=budget,
        margin=study.margin,
        alpha=study.alpha,
        methods=list(study.methods),
        tasks=list(study.tasks),
    )


def draw(study: Study, specs: Mapping[str, RunSpec], results: Path, folder: Path) -> list[Path]:
    """The convergence figure of every task that has a trace."""
    import pandas as pd

    drawn: list[Path] = []
    for task in study.tasks:
        traces = {
            (spec.method.name, spec.seed): pd.read_parquet(path)
            for key, spec in specs.items()
            if spec.task == task and (path := RunFolder(results, key).trace_path).exists()
        }
        if traces:
            path = folder / f"convergence-{safe_name(task)}"
            drawn += convergence(traces, path, target=study.targets[task], title=task, methods=list(study.methods))
    return drawn


def write_report(study: Study, runs: pd.DataFrame, comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """study.json, comparisons.json, runs.parquet, verdicts.parquet and verdicts.md."""
    import pandas as pd

    names = ("study.json", "comparisons.json", "runs.parquet", "verdicts.parquet", "verdicts.md")
    study_file, comparisons_file, runs_file, table_file, text_file = (folder / name for name in names)
    write_json(study_file, to_dict(study))
    write_json(comparisons_file, {"study": study.name, "comparisons": rows(comparisons)})
    write_atomically(runs_file, lambda path: runs.to_parquet(path))
    write_atomically(table_file, lambda path: pd.DataFrame(rows(comparisons)).to_parquet(path))
    write_atomically(text_file, lambda path: path.write_text(markdown(comparisons), encoding="utf-8"))
    return [study_file, comparisons_file, runs_file, table_file, text_file]


def _metrics(comparisons: Sequence[Comparison]) -> dict[str, float]:
    return {
        f"stat/{one.task}/{one.method}/{name.removeprefix('stat/')}": value
        for one in comparisons
        for name, value in one.metrics().items()
    }


def escape_markdown(text: str) -> str:
    """A question from a file as plain text in the note."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|!" else sign for sign in text.replace("\n", " "))


def _where(found: Conclusion) -> str:
    figures = [path for path in found.figures if path.suffix == ".png"]
    lines = [f"report   {found.folder}", *(f"figure   {path}" for path in figures)]
    lines += [f"runs     {found.results / 'runs'}", f"MLflow   {tracking_uri(found.results)}"]
    lines += [f"browse   hfbench ui --results {found.results}"]
    return escape("\n".join(lines))
