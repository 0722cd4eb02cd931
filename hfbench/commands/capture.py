"""`hfbench capture`: freezes systems from the runs of a study, early to late, with lambda unchanged and changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hfbench.config.run_spec import RunSpec
from hfbench.config.study import Study
from hfbench.config.study_runs import runs_of
from hfbench.errors import ConfigError, StoreError
from hfbench.execution.preflight import preflight
from hfbench.parts.protocols import BatchPlan
from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import SUFFIX, FrozenSystem
from hfbench.records.files import make_folder, safe_name
from hfbench.records.run_folder import RunFolder
from hfbench.runs.batch_replay import plans


def capture_study(
    study: Study,
    at: Sequence[int],
    factors: Sequence[float],
    into: Path,
    results: Path,
    data: str | None,
    console: Console,
) -> int:
    """Trains every Hessian-free run of the study up to the last of the iterations `at` and freezes its systems.

    Each is written once for every factor of lambda. Returns 0, or 1 if some run ended earlier. Raises ConfigError,
    before anything is written, if the study has no Hessian-free method; otherwise as `hfbench.commands.run.run_study`.
    """
    specs = [spec for spec in runs_of(study, data) if spec.method.optimizer is None]
    if not specs:
        raise ConfigError(
            f"{study.name} has no Hessian-free method among the methods asked for, so there are no systems."
        )
    recorded = {spec.name: _recorded(spec, results) for spec in specs}
    preflight(specs, data, console)
    make_folder(into)
    short = 0
    for spec in specs:
        with console.status(Text(f"{spec.name}: training to iteration {max(at)}")):
            found = 0
            for frozen in frozen_systems(spec, at, data, recorded[spec.name]):
                found += 1
                for factor in factors:
                    _write(frozen.damped(factor), into, console)
        if found < len(set(at)):
            short += 1
            left = ", ".join(map(str, sorted(set(at))[found:]))
            console.print(f"{spec.name} ended before iteration {left}.", highlight=False)
    return 1 if short else 0


def _write(frozen: FrozenSystem, into: Path, console: Console) -> None:
    path = frozen.save(into / f"{safe_name(frozen.name)}{SUFFIX}")
    cases, size = len(frozen.gradient_cases), path.stat().st_size / 1e6
    console.print(f"{path}  lambda {frozen.damping:.3g}, {cases} cases, {size:.1f} MB", highlight=False, soft_wrap=True)


def _recorded(spec: RunSpec, results: Path) -> list[BatchPlan] | None:
    """The recorded batches that the run replays, if it follows another run's."""
    if not spec.follows:
        return None
    folder = RunFolder(results, spec.follows)
    if not folder.is_complete():
        raise StoreError(
            f"{spec.name} replays the batches of {spec.method.batches_of}, whose run is not recorded in {results}: "
            "run the study first, or leave the method out with --only."
        )
    return plans(folder.rows())
