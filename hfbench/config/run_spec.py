"""What one run is: task × method × seed × budget, and the key under which its record is kept."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import inspect
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.parts import registry
from hfbench.parts.data_files import checksum, find

if TYPE_CHECKING:
    from hfbench.config.load import Study
    from hfbench.config.methods import Method
    from hfbench.parts.protocols import Task

CORE = Path(__file__).parents[1]
# What the numbers of a run depend on, beside its parts: a change there makes the run again, never a stale one.
NUMERICS = ("memory", "linalg", "curvature", "parts", "inner_solve", "hessian_free", "runs", "records/trace.py")
PART_FOLDERS = ("solvers", "schedulers", "tasks")


@dataclass(frozen=True)
class RunSpec:
    """A run before it is run; everything that decides its numbers, resolved."""

    task: str
    task_settings: Mapping[str, Any]  # {"use": name, **settings}
    method: Method
    seed: int
    budget: Mapping[str, float]  # among passes, seconds, products, iterations; see `Study.budget`
    target: float
    precision: str = "float32"
    device: str = "cpu"
    stop_at_target: bool = True
    files: Mapping[str, str] = field(default_factory=dict)  # checksums of the optional data files that were found
    follows: str = ""  # key of the run whose recorded batches are met again

    @property
    def name(self) -> str:
        """`method/task/s<seed>`, as in the tracking store and on the screen."""
        return f"{self.method.name}/{self.task}/s{self.seed}"

    def parts(self) -> list[tuple[str, dict[str, Any]]]:
        """Every part used, as (family, its settings)."""
        return [("task", dict(self.task_settings)), *self.method.parts()]

    def config(self) -> dict[str, Any]:
        """The resolved configuration as plain data."""
        return dict(json.loads(json.dumps(asdict(self))))  # tuples become lists, as when read back

    def key(self) -> str:
        """16 hexadecimal digits of the sha256 of the configuration and of the source of the numerics and parts."""
        digest = hashlib.sha256(json.dumps(self.config(), sort_keys=True).encode())
        digest.update(_core_source())
        for family, settings in self.parts():
            part: Any = registry.get(family, settings["use"])
            digest.update(_part_source(part))
        return digest.hexdigest()[:16]


def plan(study: Study, data: str | None = None) -> list[RunSpec]:
    """All runs of a study, seed by seed, so that the pairs of a comparison finish together.

    Raises as `registry.build` does, and DataError for an optional data file that is damaged.
    """
    tasks = {
        name: registry.build("task", dict(settings), where=f"tasks.{name}") for name, settings in study.tasks.items()
    }
    found = {name: _optional_files(task, data) for name, task in tasks.items()}
    specs = []
    for seed in dict.fromkeys(seed for on in study.on.values() for seed in on.seeds):
        for name, task in tasks.items():
            on = study.on[name]
            if seed not in on.seeds:
                continue
            of_seed = {
                method.name: RunSpec(
                    task=name,
                    task_settings=study.tasks[name],
                    method=method,
                    seed=seed,
                    budget=on.budget or dict(task.budget),
                    target=float(study.targets[name]),
                    precision=study.precision,
                    device=study.device,
                    stop_at_target=study.stop_at_target,
                    files=found[name],
                )
                for method in (study.methods[method] for method in on.methods)
            }
            specs += [_following(spec, of_seed) for spec in of_seed.values()]
    return specs


def _following(spec: RunSpec, of_seed: Mapping[str, RunSpec]) -> RunSpec:
    """The run with the key of the run whose batches it meets again, where it does."""
    followed = spec.method.batches_of
    return spec if followed is None else replace(spec, follows=of_seed[followed].key())


def _optional_files(task: Task, data: str | None) -> dict[str, str]:
    """What a task reads where it exists decides its numbers too; all other files have their checksum in the source."""
    paths = {file.path: find(file, data) for file in task.files if file.optional}
    return {name: checksum(path) for name, path in paths.items() if path is not None}


@cache
def _core_source() -> bytes:
    places = [CORE / name for name in NUMERICS]
    return b"".join(_hash(file) for place in places for file in (sorted(place.rglob("*.py")) or [place]))


@cache
def _part_source(part: type) -> bytes:
    """The hashes of the files a part is made of: its own, its bases', and the siblings they import."""
    modules = {base.__module__ for base in part.__mro__} - {"builtins", "typing"}
    files: dict[str, bytes] = {}
    while modules:
        name = modules.pop()
        if name in files or not _belongs(name, part.__module__):
            continue
        file = _file(name)
        if file is not None:
            files[name] = _hash(file)
            modules |= set(_imports(name, file))
        elif name == part.__module__:
            files[name] = _inline_source(part)
    return b"".join(files[name] for name in sorted(files))


def _file(module: str) -> Path | None:
    """Where a module's source is, whether or not it is loaded; None for what is no module or has no file."""
    loaded = getattr(sys.modules.get(module), "__file__", None)
    if loaded is None:
        with suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(module)
            loaded = spec.origin if spec is not None and spec.has_location else None
    return Path(loaded) if loaded is not None and Path(loaded).is_file() else None


def _belongs(name: str, own: str) -> bool:
    """Whether a module counts as the part's own: itself, its package, or a built-in part; the core is hashed anyway."""
    top, *below = name.split(".")
    if top == "hfbench":
        return len(below) > 1 and below[0] in PART_FOLDERS
    return name == own or top == own.partition(".")[0]


def _imports(name: str, file: Path) -> Iterator[str]:
    """The modules a file imports, by absolute name; names that are not modules are harmless."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _inline_source(part: type) -> bytes:
    """For a class typed into a notebook or an interpreter: its text where Python kept it, else its name."""
    try:
        text = inspect.getsource(part)
    except (OSError, TypeError):
        text = part.__qualname__
    return hashlib.sha256(text.encode()).digest()


def _hash(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()
