"""Recorded study: its runs as a table, their traces, and the runs that are missing or were made with other settings."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.config.measures import AT_TARGET
from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.errors import StoreError
from hfbench.messages import count, ranges
from hfbench.records.files import check_folder, is_safe_name
from hfbench.records.run_folder import COMPLETE, Checked, RunFolder
from hfbench.records.validation import same_settings

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

RESULT_COLUMNS = (
    "key", "study", "task", "method", "seed", "outcome", "cause", "error", "work", "products", "seconds", "distinct",
    "iterations", "work_to_target", "products_to_target", "seconds_to_target", "distinct_to_target", "final_test_error",
    "final_validation_error", AT_TARGET, "final_objective", "test_resolution", "validation_resolution", "peak_memory",
    "threads",
)  # fmt: skip
EARLY = "test_error_at_best_validation"
REMEDY = "The same command of `hfbench run` makes it again."


@dataclass(frozen=True)
class Leftovers:
    """Records with this study's name that are left out: those not among its runs, and those that are damaged."""

    settings: int = 0  # a run of the study with other settings, or on other data
    version: int = 0  # a run of the study by another version of the code
    not_requested: int = 0  # of a task, method or seed that is not asked for
    faults: Mapping[str, str] = field(default_factory=dict)  # what is wrong with a run's record, by the run's name

    def other_settings(self) -> list[str]:
        """A sentence for each record of a run of the study that cannot be used, or kind of records made otherwise."""
        kinds = ((self.version, "by another version of the code"), (self.settings, "with other settings or data"))
        counted = [f"{count(n, 'record')} of this study made {how} left out." for n, how in kinds if n]
        return [*self.damaged(), *counted]

    def damaged(self) -> list[str]:
        """A sentence for each damaged record of a run of the study."""
        return [f"{name} is set aside: {fault} {REMEDY}" for name, fault in self.faults.items()]

    def sentences(self) -> list[str]:
        """A sentence for each kind of leftover."""
        others = f"{count(self.not_requested, 'record')} of tasks, methods or seeds that are not asked for left out."
        return [*self.other_settings(), *([others] if self.not_requested else [])]


@dataclass(frozen=True)
class RecordedStudy:
    """The planned runs of a study, by key, and the results of those that have ended, in the order of the plan."""

    study: Study
    specs: Mapping[str, RunSpec]
    results: Path
    records: Path  # the folder of the runs' records: the results, or what an archive was unpacked to
    ended: Mapping[str, Mapping[str, Any]]
    others: Leftovers
    early: Mapping[str, float] = field(default_factory=dict)  # the test errors, had training stopped early

    @property
    def archive(self) -> str:
        """Name of the archive that the records come from; empty if they are those of the results."""
        return "" if self.records == self.results else self.records.name

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row per ended run: the columns of result.json, and one from its trace. Studies may share a run."""
        import pandas as pd

        frame = pd.DataFrame(list(self.ended.values())).reindex(columns=list(RESULT_COLUMNS))
        frame["study"] = self.study.name
        frame = frame if self.study.target_on == "validation" else frame.drop(columns=AT_TARGET)
        frame[EARLY] = [self.early.get(key, math.nan) for key in self.ended]
        frame["hardware"] = [_hardware(result) for result in self.ended.values()]
        return frame

    @cached_property
    def judged(self) -> pd.DataFrame:
        """The runs that count for their method, without those that the machine ended, which are made again."""
        lost = {key for key, result in self.ended.items() if _is_lost(result)}
        return self.runs.loc[[key not in lost for key in self.ended]]

    @property
    def missing(self) -> list[RunSpec]:
        return [spec for key, spec in self.specs.items() if key not in self.ended]

    @property
    def budgets(self) -> dict[str, Mapping[str, float]]:
        """Limits of a run, by task."""
        return {spec.task: spec.budget for spec in self.specs.values()}

    @property
    def failed(self) -> list[RunSpec]:
        return [spec for key, spec in self.specs.items() if self.ended.get(key, {}).get("outcome") == "failed"]

    @property
    def lost(self) -> list[RunSpec]:
        """The failed runs that the machine ended, not their own method."""
        return [spec for key, spec in self.specs.items() if _is_lost(self.ended.get(key, {}))]

    @property
    def failure(self) -> str:
        """Message about failed runs and how they are counted; empty if there are none."""
        lost, own = len(self.lost), len(self.failed) - len(self.lost)
        if not self.failed:
            return ""
        counted = f"{own} by {'its' if own == 1 else 'their'} own method: counted as never reaching the target"
        left = f"{lost} by the machine (killed, memory, disk, data): left out"
        kinds = "; ".join(said for n, said in ((own, counted), (lost, left)) if n)
        return (
            f"Failed: {len(self.failed)} of {count(len(self.specs), 'run')}. {kinds}. `hfbench run` tries them again."
        )

    @property
    def without_weights(self) -> Mapping[str, RunSpec]:
        """The runs, by key, whose weights were not kept though the study keeps them; an archive holds none."""
        return lacking_weights(self.specs, self.results) if self.study.keep_weights and not self.archive else {}

    def with_outcome(self, outcome: str) -> list[str]:
        """One line, with name and error, for each run with this outcome."""
        found = [
            (self.specs[key].name, result) for key, result in self.ended.items() if result.get("outcome") == outcome
        ]
        return [f"{name}: {result.get('error')}" for name, result in found]

    @property
    def details(self) -> list[Path]:
        """Paths of the failed runs' tracebacks, in the order of `with_outcome`; archives need not hold them."""
        broken = [key for key, result in self.ended.items() if result.get("outcome") == "failed"]
        return [self.folder(key).path / "error.txt" for key in broken]

    def environments(self) -> list[tuple[str, int]]:
        """The versions that runs were made with, and the number of runs, the most frequent first."""
        made = Counter(_versions(result) for result in self.ended.values())
        return sorted(made.items(), key=lambda one: (-one[1], one[0]))

    def traces(self, task: str) -> dict[tuple[str, int], pd.DataFrame]:
        """The traces of a task's runs by method and seed; a run that failed has none."""
        return {
            (spec.method.name, spec.seed): trace.to_pandas(use_threads=False)
            for key, spec in self.specs.items()
            if spec.task == task and key in self.ended and (trace := self._trace(key)) is not None
        }

    def _trace(self, key: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The trace of an ended run; None for one that failed, whatever an earlier attempt has left."""
        return self.folder(key).trace(columns) if self.ended[key]["outcome"] in COMPLETE else None

    def examples(self, task: str) -> tuple[int, dict[str, Mapping[str, Any]]]:
        """The first seed of a task at which most methods kept pictures of test cases, and these by method."""
        kept: dict[int, dict[str, RunFolder]] = {}
        for key, spec in self.specs.items():
            if spec.task == task and key in self.ended and (folder := self.folder(key)).has_examples():
                kept.setdefault(spec.seed, {})[spec.method.name] = folder
        seed = max(kept, key=lambda one: (len(kept[one]), -one), default=0)
        shown = {method: folder.examples() for method, folder in kept.get(seed, {}).items()}
        return seed, {method: examples for method, examples in shown.items() if examples is not None}

    def first_seeds(self, n: int) -> RecordedStudy:
        """The study restricted to the first n seeds of every task."""
        study = self.study.first_seeds(n)
        specs = {key: spec for key, spec in self.specs.items() if spec.seed in study.on[spec.task].seeds}
        ended = {key: result for key, result in self.ended.items() if key in specs}
        return replace(self, study=study, specs=specs, ended=ended)

    def folder(self, key: str) -> RunFolder:
        return RunFolder(self.records, key)


def gather(
    study: Study,
    specs: Mapping[str, RunSpec],
    results: Path,
    records: Path | None = None,
    report: Callable[[int], None] | None = None,
) -> RecordedStudy:
    """Reads the result of every planned run that has ended, and counts the study's other records.

    A damaged record is left out, and told. `records` is the folder of the runs' folders, if it is not `results`.
    `report` is called with the number of records that are read.
    """
    place = results if records is None else records
    checks = _checks_of(specs, place, report)
    sound = {key: checked for key, checked in checks.items() if checked.result is not None}
    ended = {key: checked.result for key, checked in sound.items() if checked.result is not None}
    early = {key: checked.stopped_early for key, checked in sound.items()}
    faults = {specs[key].name: checked.fault for key, checked in checks.items() if checked.fault}
    return RecordedStudy(
        study, specs, results, place, ended, replace(_others(study, specs, place), faults=faults), early
    )


def _checks_of(
    specs: Mapping[str, RunSpec], results: Path, report: Callable[[int], None] | None = None
) -> dict[str, Checked]:
    """What checks of the records of these runs find, by key.

    Raises StoreError if the folder of all records is a link out of the results folder.
    """
    check_folder(results / "runs", results)
    found = {}
    for done, (key, spec) in enumerate(specs.items(), 1):
        found[key] = RunFolder(results, key).checked(spec.config())
        if report is not None:
            report(done)
    return found


def lacking_weights(specs: Mapping[str, RunSpec], results: Path) -> dict[str, RunSpec]:
    """The runs that ended at their target or their budget, and have no weights. The others have none to keep."""
    folders = {key: RunFolder(results, key) for key in specs}
    ended = {key: folder.sound_result(specs[key].config()) or {} for key, folder in folders.items()}
    return {
        key: spec
        for key, spec in specs.items()
        if ended[key].get("outcome") in ("reached", "budget") and not folders[key].has_weights()
    }


def faults_of(specs: Mapping[str, RunSpec], results: Path) -> dict[str, str]:
    """What is wrong with the records of these runs, by key; sound records and runs that have not ended have none."""
    return {key: checked.fault for key, checked in _checks_of(specs, results).items() if checked.fault}


def set_aside(specs: Mapping[str, RunSpec], results: Path) -> list[str]:
    """Sets the damaged records of these runs aside, so that they are made again; a line for each."""
    faults = faults_of(specs, results)
    moved = {key: RunFolder(results, key).set_aside() for key in faults}
    return [f"{specs[key].name} is set aside in {moved[key]}: {fault} {REMEDY}" for key, fault in faults.items()]


def to_be_made_again(specs: Mapping[str, RunSpec], results: Path) -> list[str]:
    """A line for each damaged record of these runs, where nothing is to be moved yet."""
    faults = faults_of(specs, results)
    return [f"{specs[key].name} will be set aside and made again: {fault}" for key, fault in faults.items()]


def missing_runs(specs: Iterable[RunSpec]) -> list[str]:
    """`method on task: seeds 2, 5-9` for all runs of one method and task together."""
    seeds: dict[str, list[int]] = {}
    for spec in specs:
        seeds.setdefault(f"{spec.method.name} on {spec.task}", []).append(spec.seed)
    return [f"{who}: seed{'s' * (len(numbers) > 1)} {ranges(numbers)}" for who, numbers in seeds.items()]


def _others(study: Study, specs: Mapping[str, RunSpec], results: Path) -> Leftovers:
    """Counts by configuration: the same configuration under another key comes from another version of the numerics."""
    planned = {(spec.task, spec.method.name, spec.seed): spec for spec in specs.values()}
    counts: Counter[str] = Counter()
    for key in recorded_keys(results):
        if key in specs:
            continue
        folder = RunFolder(results, key)
        try:
            result = folder.result()
            if result is None or result.get("study") != study.name:
                continue
            config = folder.config()
        except StoreError:  # not this study's to mend
            continue
        spec = planned.get((str(result.get("task")), str(result.get("method")), _seed(result)))
        if spec is None:
            counts["not_requested"] += 1
        else:
            counts["version" if same_settings(config, spec.config()) else "settings"] += 1
    return Leftovers(counts["settings"], counts["version"], counts["not_requested"])


def recorded_keys(results: Path) -> list[str]:
    """The names of the run folders."""
    try:
        return sorted(entry.name for entry in os.scandir(results / "runs") if is_safe_name(entry.name))
    except OSError:
        return []


def _is_lost(result: Mapping[str, Any]) -> bool:
    return result.get("outcome") == "failed" and result.get("cause") == "machine"


def _seed(result: Mapping[str, Any]) -> int:
    seed = result.get("seed")
    return seed if isinstance(seed, int) else -1


def _hardware(result: Mapping[str, Any]) -> str:
    """In one line; empty for records of earlier versions."""
    known = result.get("hardware")
    if not isinstance(known, Mapping):
        return ""
    told = {**known, "cores": f"{known.get('cores')} cores"}
    return ", ".join(
        str(told[name]) for name in ("processor", "cores", "matrix_units", "memory", "blas", "gpu") if name in told
    )


def _versions(result: Mapping[str, Any]) -> str:
    versions = result.get("versions")
    known = versions if isinstance(versions, Mapping) else {}
    return ", ".join(f"{name} {version}" for name, version in known.items()) or "unknown versions"
