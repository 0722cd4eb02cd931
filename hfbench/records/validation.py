"""Validation of a run's record: the files must be those of the manifest, and fit the schema and each other.

A record of an earlier version has no manifest and is validated by the schema alone. Every function raises StoreError
with the file, the field, what must hold and what was found.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from zipfile import ZipFile

from hfbench.config.measures import AT_TARGET, costs
from hfbench.config.run_spec import ADDED as ADDED_TO_RUNS
from hfbench.config.study import TARGET_ON
from hfbench.errors import HfbenchError, StoreError
from hfbench.messages import printable_line, quoted
from hfbench.parts import registry
from hfbench.parts.hyperparameters import hyperparameters
from hfbench.records.expansion import check_expansion
from hfbench.records.files import decoding, is_safe_name, json_bytes, json_object
from hfbench.records.trace import COLUMNS
from hfbench.records.trace_file import check_trace, read_trace, target_on
from hfbench.records.weights import WEIGHTS, identity_of, read_weights

if TYPE_CHECKING:
    import pyarrow as pa

COMPLETE = ("reached", "budget", "diverged")  # outcomes that are not tried again
OUTCOMES = (*COMPLETE, "failed")
CAUSES = (None, "method", "machine")  # of a failed run; earlier versions named none
LARGEST = 1e300  # of a number: beyond it sums and squares overflow
LONGEST = 10_000  # characters of a text: errors of parts are kept to 2000
ANOTHER = "must hold the run of its name, but its config.json is another's."
MANIFEST = "manifest.json"
PICTURES = ("originals", "reconstructions", "errors")
FIELD = ("solution", "prediction", "axes", "extent")
PARTS = ("optimizer", "solver", "preconditioner", "scheduler")
# Settings of methods that earlier records do not name.
ADDED = {"max_bytes": None, "precision": "parameters", "gradient_precision": "parameters"}


# ---------------------------------------------------------------- a whole record


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """The manifest of a record: the sha256 of each of its files."""
    return json_bytes({"sha256": {name: hashlib.sha256(held).hexdigest() for name, held in sorted(files.items())}})


@dataclass(frozen=True)
class Record:
    """The record of a run that has ended."""

    config: dict[str, Any]
    result: dict[str, Any]
    trace: pa.Table | None  # None of a run that failed, whatever an earlier attempt has left


def sound_record(key: str, files: Mapping[str, bytes]) -> Record:
    """The record in the files, by name. Raises StoreError unless it is that of an ended run with this key."""
    _check_manifest(files)
    config = json_object(_held(files, "config.json"), "config.json")
    result = json_object(_held(files, "result.json"), "result.json")
    check_config(config)
    check_result(result, key, config)
    trace = None
    if result["outcome"] in COMPLETE:
        trace = read_trace(_held(files, "trace.parquet"), "trace.parquet")
        check_trace(trace, result, config)
    if "examples.npz" in files:
        read_examples(files["examples.npz"], "examples.npz")
    if WEIGHTS in files:
        check_listed(WEIGHTS, files)
        read_weights(files[WEIGHTS], WEIGHTS, identity_of(key, config))
    return Record(config, result, trace)


def check_planned(key: str, files: Mapping[str, bytes], planned: Mapping[str, Any]) -> None:
    """Raises StoreError unless the files are the record of the planned run, or what there is of it before its end."""
    if "result.json" in files:
        config = sound_record(key, files).config
    else:
        config = json_object(_held(files, "config.json"), "config.json")
    if not same_settings(config, planned):
        raise StoreError(ANOTHER)


def _held(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise StoreError(f"{name} must be there, but is not.")
    return files[name]


def _check_manifest(files: Mapping[str, bytes]) -> None:
    """The files are those that the manifest lists, if there is one."""
    if MANIFEST not in files:
        return
    listed = _listed(files)
    if not {"config.json", "result.json"} <= listed.keys():
        raise StoreError(f"{MANIFEST} must list the sha256 of each file, but does not.")
    for name in listed:
        if name in files:
            check_listed(name, files)
        elif name != WEIGHTS:  # who needs the room may remove them
            raise StoreError(f"{printable_line(name)} must be there, since {MANIFEST} lists it, but is not.")


def check_listed(name: str, files: Mapping[str, bytes]) -> None:
    """Raises StoreError unless a file is the one that the manifest lists."""
    if hashlib.sha256(files[name]).hexdigest() != _listed(files).get(name):
        raise StoreError(f"{printable_line(name)} must have the sha256 that {MANIFEST} lists, but has another.")


def _listed(files: Mapping[str, bytes]) -> Mapping[str, Any]:
    """The sha256 of each file by its name; nothing where there is no manifest."""
    listed = json_object(files.get(MANIFEST, b"{}"), MANIFEST).get("sha256")
    return listed if isinstance(listed, Mapping) else {}


# ---------------------------------------------------------------- configuration

Kind = tuple[str, Callable[[Any], bool]]  # what a value must be, in words and as a test


def _is_number(value: Any) -> bool:
    """True for a finite number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_table(value: Any, holds: Callable[[Any], bool] = lambda entry: True) -> bool:
    """True for a mapping whose every entry passes the test."""
    return isinstance(value, Mapping) and all(holds(entry) for entry in value.values())


TEXT: Kind = (
    f"text of at most {LONGEST} characters",
    lambda value: isinstance(value, str) and len(value) <= LONGEST,
)
NAME: Kind = ("text of at most 100 letters, digits, '.', '_' and '-'", is_safe_name)  # it becomes part of file names
NUMBER: Kind = ("a number", _is_number)
AMOUNT: Kind = ("a number from 0", lambda value: _is_number(value) and value >= 0)
COUNT: Kind = ("a whole number from 0", _is_count)
INTERVAL: Kind = ("a whole number from 1", lambda value: _is_count(value) and value > 0)
TABLE: Kind = ("a table", _is_table)
PART: Kind = ("a part", lambda value: _is_table(value) and isinstance(value.get("use"), str))
LIMITS: Kind = (
    "a table of numbers above 0",
    lambda value: _is_table(value, lambda limit: _is_number(limit) and limit > 0),
)
SWITCHES: Kind = (
    "a table of numbers and truth values",
    lambda value: _is_table(value, lambda entry: isinstance(entry, bool) or _is_number(entry)),
)
VERSIONS: Kind = ("a table of texts", lambda value: _is_table(value, lambda version: isinstance(version, str)))


def _maybe(kind: Kind) -> Kind:
    words, holds = kind
    return f"{words} or null", lambda value: value is None or holds(value)


def _among(*values: Any) -> Kind:
    return f"one of {', '.join(map(str, values))}", lambda value: isinstance(value, str | None) and value in values


CONFIG: Mapping[str, Kind] = {
    "task": NAME, "task_settings": PART, "method": TABLE, "seed": COUNT, "budget": LIMITS, "target": NUMBER,
    "target_on": _among(*TARGET_ON), "evaluate_every": INTERVAL,
}  # fmt: skip
METHOD: Mapping[str, Kind] = {"name": NAME, "optimizer": _maybe(PART), "globalization": SWITCHES, "max_inner": COUNT}


def check_config(config: Mapping[str, Any], file: str = "config.json") -> None:
    """Raises StoreError unless this is the configuration of a run."""
    _check({**ADDED_TO_RUNS, **config}, CONFIG, file)
    _check(config["method"], METHOD, f"{file}: method")
    if config["method"]["optimizer"] is None:
        _check(config["method"], {"solver": PART, "preconditioner": PART}, f"{file}: method")


def same_settings(config: Mapping[str, Any] | None, planned: Mapping[str, Any]) -> bool:
    """True if two runs have the same settings, except for the key of the run whose batches they replay."""
    return config == planned or _comparable(config or {}) == _comparable(planned)


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, with defaults for those that were added after the record was made."""
    from hfbench.hessian_free.globalization import Globalization  # brings torch

    method = config.get("method")
    known = method if isinstance(method, Mapping) else {}
    single = {family: _completed(family, known.get(family)) for family in PARTS if family in known}
    rules = [_completed("rule", rule) for rule in known.get("rules") or []]
    task = _completed("task", config.get("task_settings"))
    switches = known.get("globalization")
    if isinstance(switches, Mapping):
        single["globalization"] = {**_defaults(Globalization), **switches}
    complete = {**ADDED, **known, **single, "rules": rules}
    return {"device": "cpu", **config, "follows": "", "task_settings": task, "method": complete}


def _completed(family: str, settings: Any) -> Any:
    """A part's settings with the defaults of those that it lacks: what a part gets later is off by default."""
    if not isinstance(settings, Mapping):
        return settings
    with suppress(HfbenchError):  # of a part that is not there
        return {**_defaults(registry.get(family, str(settings.get("use")))), **settings}
    return settings


def _defaults(part: type) -> dict[str, Any]:
    """The settings of a part that need not be given, as they are recorded."""
    defaults = {setting.name: setting.default for setting in hyperparameters(part) if not setting.required}
    return dict(json.loads(json.dumps(defaults)))


# ---------------------------------------------------------------- result

_COSTS: Mapping[str, Kind] = {
    **{cost.spent: _maybe(AMOUNT) for cost in costs().values()},
    **{name: _maybe(AMOUNT) for name in costs()},
}
RESULT: Mapping[str, Kind] = {
    "key": TEXT, "study": TEXT, "task": TEXT, "method": TEXT, "seed": COUNT, "threads": COUNT, "versions": VERSIONS,
    "outcome": _among(*OUTCOMES),
}  # fmt: skip
RESULT_OF_COMPLETE: Mapping[str, Kind] = {
    "error": _maybe(TEXT), **_COSTS, "work": AMOUNT, "seconds": AMOUNT, "iterations": COUNT,
    "final_test_error": _maybe(NUMBER), "final_validation_error": _maybe(NUMBER), "final_objective": _maybe(NUMBER),
    "peak_memory": _maybe(AMOUNT),
}  # fmt: skip


def check_result(result: Mapping[str, Any], key: str, config: Mapping[str, Any], file: str = "result.json") -> None:
    """Raises StoreError unless this is the result of the run with this key and configuration."""
    _check(result, RESULT, file)
    if "hardware" in result:  # of earlier versions it is not known
        _check(result, {"hardware": VERSIONS}, file)
    identity = {"key": key, "task": config["task"], "method": config["method"]["name"], "seed": config["seed"]}
    for name, value in identity.items():
        if result[name] != value:
            raise StoreError(f"{file}: {name} must be {quoted(value)}, as of this run, but is {quoted(result[name])}.")
    if result["outcome"] == "failed":
        _check({"cause": None, **result}, {"error": TEXT, "cause": _among(*CAUSES)}, file)
        return
    _check(result, RESULT_OF_COMPLETE, file)
    if target_on(config) == "validation":
        _check(result, {AT_TARGET: _maybe(NUMBER)}, file)
    _check_target(result, file)


def _check_target(result: Mapping[str, Any], file: str) -> None:
    """Costs to the target are there if it was reached, and are at most those of the whole run."""
    reached = result["work_to_target"] is not None
    if result["outcome"] != "diverged" and reached != (result["outcome"] == "reached"):
        found = "a number" if reached else "null"
        raise StoreError(f"{file}: work_to_target of a run with outcome {result['outcome']} must not be {found}.")
    if result["outcome"] != "diverged":
        _check(result, {"final_test_error": NUMBER, "final_validation_error": NUMBER}, file)
    if (result.get(AT_TARGET) is not None) > reached:
        raise StoreError(f"{file}: {AT_TARGET} must be null in a run that did not reach the target.")
    for name, cost in costs().items():
        spent, to_target = result[cost.spent], result[name]
        if to_target is not None and (spent is None or to_target > spent):
            raise StoreError(f"{file}: {name} must be at most {cost.spent}, but is {quoted(to_target)}.")


def _check(values: Mapping[str, Any], schema: Mapping[str, Kind], where: str) -> None:
    for name, (words, holds) in schema.items():
        if name not in values:
            raise StoreError(f"{where}: {name} must be given, but is not.")
        if not holds(values[name]):
            raise StoreError(f"{where}: {name} must be {words}, but is {quoted(values[name])}.")


# ---------------------------------------------------------------- pictures of test cases


def read_examples(held: bytes, file: str) -> dict[str, Any]:
    """The arrays of `RunFolder.finish`. Raises StoreError for anything else."""
    from numpy.lib.format import read_array

    with decoding(file, "a readable file of arrays"), ZipFile(BytesIO(held)) as archive:
        check_expansion(sum(entry.file_size for entry in archive.infolist()), len(held))
        # As `numpy.load` does, which reads the beginning of each array twice.
        found = {
            name.removesuffix(".npy"): read_array(BytesIO(archive.read(name)), allow_pickle=False)
            for name in archive.namelist()
        }
    if not (_are_pictures(found) or _are_a_field(found)):
        raise StoreError(f"{file} must hold pictures, their reconstructions and errors, or a field, but does not.")
    return found


def _are_pictures(found: Mapping[str, Any]) -> bool:
    shapes = {name: array.shape for name, array in found.items() if array.dtype.kind == "f"}
    pictures = shapes.get("originals", ())
    wanted = {"originals": pictures, "reconstructions": pictures, "errors": pictures[:1]}
    return found.keys() == set(PICTURES) and shapes == wanted and len(pictures) == 3


def _are_a_field(found: Mapping[str, Any]) -> bool:
    if found.keys() != set(FIELD):
        return False
    field = found["solution"].shape
    shapes = {name: (array.shape, array.dtype.kind) for name, array in found.items()}
    wanted = {"solution": (field, "f"), "prediction": (field, "f"), "axes": ((2,), "U"), "extent": ((4,), "f")}
    return len(field) == 2 and min(field) > 0 and shapes == wanted


# ---------------------------------------------------------------- progress of a run

_OF_COLUMN: Mapping[type, Kind] = {
    int: _maybe(("a whole number", lambda value: _is_number(value) and value % 1 == 0)),
    float: _maybe(NUMBER),
    str: _maybe(TEXT),
}
PROGRESS: Mapping[str, Kind] = {
    **{name: _OF_COLUMN[column.type] for name, column in COLUMNS.items()},
    "iteration": COUNT, "name": TEXT, "target": NUMBER, "target_on": _among(*TARGET_ON),
    "error": _maybe(NUMBER), "spent": AMOUNT,
}  # fmt: skip


def checked_progress(report: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """The report of a run's progress with all that observers show, or None if it is no report.

    `name` stands for the run's if it is not given. An error that JSON could not hold is not a number.
    """
    known = {field: PROGRESS[field] for field in PROGRESS if field in report}
    if "iteration" not in known or not all(holds(report[field]) for field, (_, holds) in known.items()):
        return None
    if "error" not in report:
        return {"name": name, **report}
    error = math.nan if report["error"] is None else report["error"]
    return {"name": name, "target": math.nan, "target_on": "test", **report, "error": error}
