"""Section "How it was done" of a report: command, plan, methods, data, code and runs, for repeating a study."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hfbench.config.limit_advice import limit_advice
from hfbench.config.measures import AT_TARGET, MEASURES
from hfbench.config.methods import Method, resolve
from hfbench.hessian_free.globalization import Globalization
from hfbench.messages import count, ranges
from hfbench.parts import registry
from hfbench.parts.hyperparameters import hyperparameters
from hfbench.records.recorded_study import RecordedStudy, missing_runs
from hfbench.report.document import Block, Bullets, Code, Heading, Mono, Paragraph, Table, Text
from hfbench.report.wording import number
from hfbench.statistics.location_tests import TESTS
from hfbench.statistics.looks import shares

OF_METHOD = ("right_hand_side", "max_inner", "chunk", "max_bytes", "layout", "precision", "stream")


def missing_note(recorded: RecordedStudy, command: str) -> list[Block]:
    """The runs that are not recorded yet, and the command that adds them."""
    absent = recorded.missing
    if not absent:
        return []
    said = (
        f"{len(absent)} of {len(recorded.specs)} runs are not recorded. Seeds that both methods have are paired. ",
        Mono(command),
        " runs the others:",
    )
    return [Paragraph(said, "warning"), Bullets(missing_runs(absent))]


def failed_note(recorded: RecordedStudy) -> list[Block]:
    """The failed runs, by their own method or by the machine, and how they are counted."""
    if not recorded.failed:
        return []
    said = f"{recorded.failure} Their errors are listed under Runs."
    return [Paragraph(said, "warning"), Bullets(missing_runs(recorded.failed))]


def conduct(recorded: RecordedStudy, command: str) -> Iterator[Block]:
    """The section."""
    yield Paragraph("The same command makes the runs that are not recorded, and this report.")
    yield Code(command)
    yield Heading("Fixed beforehand", 3)
    yield from _plan(recorded)
    yield from (
        Paragraph(" ".join(paragraph.split())) for paragraph in recorded.study.notes.split("\n\n") if paragraph.strip()
    )
    yield Heading("Methods", 3)
    yield _methods(recorded)
    yield Heading("Data", 3)
    yield from _data(recorded)
    yield Heading("Code and environment", 3)
    yield Bullets([f"{count(n, 'run')}: {what}" for what, n in recorded.environments()])
    yield Heading("Runs", 3)
    yield from _broken(recorded)
    yield _runs(recorded)


# ---------------------------------------------------------------- the plan


def _plan(recorded: RecordedStudy) -> Iterator[Block]:
    study = recorded.study
    family = sum(len(on_task.methods) - 1 for on_task in study.on.values())
    stops = "ends a run" if study.stop_at_target else "is recorded, and the run continues to its budget"
    facts = [
        ("compared by", MEASURES[study.primary].title),
        ("baseline", study.baseline),
        ("margin", f"{study.margin:g}: ratios from {1 / study.margin:.3g} to {study.margin:g} count as equivalent"),
        ("level", f"{study.alpha:g}, by Holm over {count(family, 'comparison')}"),
        ("reaching the target", stops),
        ("weights and data in", study.precision),
    ]
    if study.test != "wilcoxon":
        facts.append(("test", TESTS[study.test].title))
    if study.looks:
        levels = ", ".join(f"{look.seeds} at {look.alpha:.3g}" for look in shares(study))
        facts.append(("numbers of seeds at each look, with its level", levels))
    if rare := {spec.task: spec.evaluate_every for spec in recorded.specs.values() if spec.evaluate_every != 1}:
        intervals = ", ".join(f"every {every} steps on {task}" for task, every in rare.items())
        facts.append(("errors evaluated", f"{intervals}, and at the end"))
    if study.device != "cpu":
        facts.append(("device", study.device))
    if study.ablation is not None:
        ends = "; ".join(
            f"{name}: {' -> '.join(ends_of_factor)}" for name, ends_of_factor in study.ablation.values.items()
        )
        facts.append((f"{study.ablation.design} design", f"{study.ablation.start} to {study.ablation.end}, {ends}"))
    yield Table(("setting", "value"), facts, numbers=2)
    rows: list[list[Text]] = []
    for task, on_task in study.on.items():
        budget = ", ".join(f"{limit:g} {unit}" for unit, limit in recorded.budgets.get(task, {}).items())
        used = [name for name in study.methods if name in on_task.methods]
        methods = "all" if len(used) == len(study.methods) else ", ".join(used)
        made_of, target = _part("task", study.tasks[task]), f"{study.targets[task]:g}"
        rows.append([task, made_of, target, budget, ranges(on_task.seeds), methods])
    head = ("task", "made of", f"target ({study.target_on} error)", "budget", "seeds", "methods")
    yield Table(head, rows, numbers=6, name="tasks")
    if advice := limit_advice(study.primary, recorded.budgets):
        yield Bullets(advice)


def _methods(recorded: RecordedStudy) -> Table:
    study = recorded.study
    named = dict(study.methods)
    named |= {f"{name} on {task}": own for task, on_task in study.on.items() for name, own in on_task.settings.items()}
    rows = [[name, ", ".join(_parts(method)), _rest(method)] for name, method in named.items()]
    return Table(("method", "parts", "other settings"), rows, "Settings that differ from the defaults.", numbers=3)


def _parts(method: Method) -> list[str]:
    parts = [_part(family, settings) for family, settings in method.parts()]
    return [*parts, f"the batches of {method.batches_of}"] if method.batches_of is not None else parts


def _part(family: str, settings: Mapping[str, Any]) -> str:
    """A part's name, and its settings that differ from the defaults."""
    set_ = _changed(registry.get(family, settings["use"]), settings)
    return f"{settings['use']} ({set_})" if set_ else str(settings["use"])


def _rest(method: Method) -> str:
    """The settings of a method besides its parts."""
    plain = resolve("plain", {"solver": "cg", "preconditioner": "identity", "scheduler": "fixed"})
    own = {name: getattr(method, name) for name in OF_METHOD if getattr(method, name) != getattr(plain, name)}
    written = [f"{name} = {_toml(value)}" for name, value in own.items()]
    globalization = _changed(Globalization, method.globalization) if method.globalization else ""
    return ", ".join([*written, *([f"globalization: {globalization}"] if globalization else [])]) or "–"


def _changed(part: type, settings: Mapping[str, Any]) -> str:
    changed = [
        hyperparameter.name
        for hyperparameter in hyperparameters(part)
        if hyperparameter.required or settings[hyperparameter.name] != hyperparameter.default
    ]
    return ", ".join(f"{name} = {_toml(settings[name])}" for name in changed)


def _toml(value: Any) -> str:
    """The value in TOML: JSON writes strings, numbers, booleans and lists the same way."""
    return json.dumps(value, ensure_ascii=False, default=str)


# ---------------------------------------------------------------- data and runs


def _data(recorded: RecordedStudy) -> Iterator[Block]:
    """The files of each task with the sha256 of their contents, and the tasks without files."""
    rows: list[list[Text]] = []
    generated = []
    for task, settings in recorded.study.tasks.items():
        found = next((spec.files for spec in recorded.specs.values() if spec.task == task), {})
        files = {file.path: found.get(file.path, "") if file.optional else file.sha256
                 for file in registry.get("task", settings["use"]).files}  # fmt: skip
        used = {path: digest for path, digest in files.items() if digest}
        rows += [[task, path, Mono(digest)] for path, digest in used.items()]
        if not used:
            generated.append(task)
    if rows:
        yield Table(("task", "file", "sha256 of the decompressed bytes"), rows, numbers=3)
    if generated:
        yield Paragraph(f"Generated from the seed, no files: {', '.join(generated)}.")


def _broken(recorded: RecordedStudy) -> Iterator[Block]:
    """Failed and diverged runs with their errors, then the records left out."""
    for outcome in ("failed", "diverged"):
        lines = recorded.with_outcome(outcome)
        where = " Details: runs/<key>/error.txt in the results." if lines and outcome == "failed" else ""
        yield Paragraph(f"{len(lines) or 'None'} of the {len(recorded.ended)} recorded runs {outcome}.{where}")
        if lines:
            yield Bullets(lines)
    if recorded.others.other_settings():
        yield Bullets(recorded.others.other_settings())


def _runs(recorded: RecordedStudy) -> Table:
    """Every run, with the key of its record."""
    cost = recorded.study.primary
    errors = [name for name in (AT_TARGET, "final_test_error") if name in recorded.runs.columns]
    rows: list[list[Text]] = [
        [
            run["task"], run["method"], str(run["seed"]), str(run["outcome"]), _cell(run[cost]), _cell(run["seconds"]),
            *(_cell(run[name]) for name in errors), Mono(str(run["key"])),
        ]
        for run in recorded.runs.to_dict("records")
    ]  # fmt: skip
    told = [MEASURES[name].short for name in errors]
    head = ("task", "method", "seed", "outcome", MEASURES[cost].title, "seconds", *told, "key")
    return Table(head, rows, f"All {len(rows)} recorded runs", numbers=2, words=1, folded=True)


def _cell(value: Any) -> str:
    """A number, or a dash where there is none."""
    return number(float(value)) if isinstance(value, int | float) and value == value else "–"
