"""`hfbench diagnose`: failure signatures in the runs of a study, or in one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from hfbench.commands.compare import nothing_recorded, recorded_runs
from hfbench.config.methods import Method
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.diagnosis.nonfinite_origin import find_origin
from hfbench.diagnosis.run_trace import Finding, Run
from hfbench.diagnosis.signatures import findings
from hfbench.errors import ConfigError, StoreError
from hfbench.messages import count, quoted
from hfbench.records.recorded_study import RecordedStudy, recorded_keys
from hfbench.records.run_folder import RunFolder
from hfbench.records.study_home import with_asked_seeds
from hfbench.report.conclusion import command_of
from hfbench.statistics.paired_tests import hodges_lehmann

WORSE = 1.2  # times the products to target of the same method without a preconditioner
FEWEST_DIGITS = 4  # of a run's key that a prefix must have


@dataclass(frozen=True)
class Case:
    """Failure signature shown by the runs of one method on one task."""

    where: str
    seen: int
    of: int
    finding: Finding


def diagnose_study(
    study: Study,
    results: Path,
    data: str | None,
    console: Console,
    options: Sequence[str] = (),
    archive_file: Path | None = None,
    with_origin: bool = False,
) -> int:
    """Reads the traces of all recorded runs and prints the signatures they show. Returns 1 if there are any, else 0."""
    study = study if archive_file is not None else with_asked_seeds(study, results)
    recorded = recorded_runs(study, Path(results), data, archive_file, console)
    if not recorded.ended:
        raise StoreError(nothing_recorded(recorded, command_of(study, options, results)))
    runs = {key: Run.of(recorded.folder(key), spec.name, spec.config()["method"])
            for key, spec in recorded.specs.items() if key in recorded.ended}  # fmt: skip
    cases = [*_cases(recorded, runs), *_preconditioners(recorded)]
    console.print(f"{study.name}: {count(len(runs), 'run')} looked at", highlight=False)
    for line in recorded.others.damaged():
        console.print(line, highlight=False, soft_wrap=True)
    for case in cases:
        said = f"{case.where}, {case.seen} of {count(case.of, 'run')}" if case.of > 1 else case.where
        _print(console, f"{case.finding.signature}: {said}", case.finding)
    if with_origin:
        _print_origins(console, [recorded.specs[key] for key in runs], runs, data)
    if not cases:
        console.print("No failure signature in any of them.")
    return 1 if cases else 0


def diagnose_run(key: str, results: Path, console: Console) -> int:
    """The same for one run, by its key or the beginning of it. Returns 1 if it shows a signature, else 0."""
    folder = _folder(key, Path(results))
    if fault := folder.fault():
        raise StoreError(f"the record cannot be used: {fault} The command that made the run makes it again.")
    config = folder.config()
    if config is None or folder.result() is None:
        raise StoreError(f"the run {folder.key} has not ended yet; there is nothing to diagnose.")
    name = f"{config['method']['name']}/{config['task']}/s{config['seed']}"
    run = Run.of(folder, name, config["method"])
    outcome = f"{name}: {run.result['outcome']} after {count(len(run), 'outer iteration')}"
    console.print(outcome, highlight=False)
    found = findings(run)
    for finding in found:
        _print(console, finding.signature, finding)
    if not found:
        console.print("No failure signature.")
    return 1 if found else 0


def is_key(given: str, results: Path) -> bool:
    """True if this is the beginning of a run's key rather than a study's name."""
    plain = re.fullmatch(rf"[0-9a-f]{{{FEWEST_DIGITS},16}}", given) is not None
    return plain and any(key.startswith(given) for key in recorded_keys(Path(results)))


def _folder(key: str, results: Path) -> RunFolder:
    found = [name for name in recorded_keys(results) if name.startswith(key)]
    if len(found) > 1:
        raise ConfigError(
            f"{quoted(key)} is the beginning of {len(found)} runs' keys: {', '.join(found[:3])}, …; give more."
        )
    return RunFolder(results, found[0])


def _print(console: Console, head: str, finding: Finding) -> None:
    console.print()
    console.print(Text(head, style="bold red"), soft_wrap=False)
    console.print(Padding(Text(finding.evidence), (0, 0, 0, 2)))
    console.print(Padding(Text(finding.remedy, style="dim"), (0, 0, 0, 2)))


def _print_origins(console: Console, specs: Sequence[RunSpec], runs: Mapping[str, Run], data: str | None) -> None:
    for spec, run in zip(specs, runs.values(), strict=True):
        if run.result["outcome"] == "diverged":
            console.print()
            with console.status(Text(f"{spec.name}: training again")):
                found = find_origin(spec, data)
            console.print(f"{spec.name}: {found}", highlight=False)


# ---------------------------------------------------------------- over runs


def _cases(recorded: RecordedStudy, runs: Mapping[str, Run]) -> Iterator[Case]:
    """Each signature once for a method on a task, with the evidence of the first run that shows it."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for key, run in runs.items():
        spec = recorded.specs[key]
        groups.setdefault((spec.method.name, spec.task), []).append(run)
    for (method, task), members in groups.items():
        shown: dict[str, list[tuple[Run, Finding]]] = {}
        for run in members:
            for finding in findings(run):
                shown.setdefault(finding.signature, []).append((run, finding))
        for hits in shown.values():
            run, finding = hits[0]
            where = f"{method} on {task}" if len(members) > 1 else run.name
            told = f"{run.name}: {finding.evidence}" if len(members) > 1 else finding.evidence
            yield Case(where, len(hits), len(members), Finding(finding.signature, told, finding.remedy))


def _preconditioners(recorded: RecordedStudy) -> Iterator[Case]:
    """A preconditioner that takes more products to the target than the same method without one, at every seed."""
    methods = [method for method in recorded.study.methods.values() if method.optimizer is None]
    without = [method for method in methods if _uses(method) == "identity"]
    for method in methods:
        for other in without:
            if _uses(method) != "identity" and _rest(method) == _rest(other):
                yield from _worse(recorded, method.name, other.name)


def _uses(method: Method) -> str:
    return str((method.preconditioner or {}).get("use"))


def _rest(method: Method) -> Method:
    """All settings of the method but its name and preconditioner."""
    return replace(method, name="", preconditioner=None)


def _worse(recorded: RecordedStudy, name: str, without: str) -> Iterator[Case]:
    import numpy as np

    runs = recorded.judged
    for task in dict.fromkeys(runs["task"]):
        costs = {
            method: runs[(runs["task"] == task) & (runs["method"] == method)].set_index("seed")["products_to_target"]
            for method in (name, without)
        }
        ratios = (costs[name] / costs[without]).astype(float)
        d = np.log(ratios[(ratios > 0) & np.isfinite(ratios)].to_numpy())  # no products at all have no ratio
        if d.size and (d > 0).all() and (ratio := float(np.exp(hodges_lehmann(d)[0]))) >= WORSE:
            yield Case(
                f"{name} on {task}", int(d.size), int(d.size),
                Finding(
                    "preconditioner worse than none",
                    f"{ratio:.2f} times the products to target of {without}, more at every one of {d.size} seeds.",
                    "Another preconditioner or exponent; `hfbench probe preconditioners` compares them.",
                ),
            )  # fmt: skip
