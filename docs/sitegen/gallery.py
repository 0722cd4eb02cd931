"""Figures of the gallery, drawn by the studies' own code from the published records."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from hfbench import figures
from hfbench.config.load import load_study
from hfbench.config.study_runs import runs_of
from hfbench.records import archive
from hfbench.records.files import read_json
from hfbench.records.recorded_study import RecordedStudy, gather
from hfbench.statistics.findings import findings_of, limits

PUBLISHED = Path(__file__).parents[2] / "studies/results"
TASK = "usps"  # of the figures that show one
Drawing = Callable[["Records", Path], list[Path]]


@dataclass(frozen=True)
class Records:
    """The published records of a study, unpacked below a folder when first asked for."""

    name: str
    folder: Path

    @cached_property
    def recorded(self) -> RecordedStudy:
        study, file = load_study(self.name), archive.published(self.name)
        if file is None:
            raise ValueError(f"a study with published records is wanted, but {self.name} has none.")
        specs = {spec.key(): spec for spec in runs_of(study, None)}
        results = self.folder / self.name
        results.mkdir()
        unpacked, held = archive.unpack(file, self.name, specs, results)
        return gather(study, held, results, unpacked)

    @cached_property
    def traces(self) -> dict[tuple[str, int], Any]:
        return dict(self.recorded.traces(TASK))

    @property
    def hessian_free(self) -> dict[tuple[str, int], Any]:
        """Without the first-order methods, which take a hundred times the iterations."""
        methods = self.recorded.study.methods
        return {key: trace for key, trace in self.traces.items() if methods[key[0]].optimizer is None}

    @property
    def methods(self) -> list[str]:
        return list(self.recorded.study.methods)

    @property
    def of_costs(self) -> dict[str, Any]:
        return {"cost": self.recorded.study.primary, "budget": limits(self.recorded)}


# ---------------------------------------------------------------- the figures


def convergence(of: Records, path: Path) -> list[Path]:
    target = of.recorded.study.targets[TASK]
    return figures.four_costs(of.traces, path, y="test_error", target=target, title=TASK, methods=of.methods)


def forest(of: Records, path: Path) -> list[Path]:
    return figures.comparisons_forest(findings_of(of.recorded).comparisons, path, methods=of.methods)


def interactions(of: Records, path: Path) -> list[Path]:
    ablation = of.recorded.study.ablation
    assert ablation is not None
    return figures.interactions(
        of.recorded.judged, path, factors=ablation.factors, levels=ablation.levels, names=ablation.values, title=TASK,
        tasks=[TASK], **of.of_costs,
    )  # fmt: skip


def batches(of: Records, path: Path) -> list[Path]:
    return figures.batches(of.hessian_free, path, title=TASK, methods=of.methods)


def inner(of: Records, path: Path) -> list[Path]:
    return figures.inner(of.hessian_free, path, title=TASK, methods=of.methods)


def memory(of: Records, path: Path) -> list[Path]:
    study = of.recorded.study
    return figures.memory(
        of.recorded.judged, path, baseline=study.baseline, methods=of.methods, tasks=list(study.tasks)
    )


def profile(of: Records, path: Path) -> list[Path]:
    return figures.profile(of.recorded.judged, path, methods=of.methods, **of.of_costs)


def slices(of: Records, path: Path) -> list[Path]:
    """What each setting does to the work, from the published trials of the sweep."""
    import pandas as pd

    from hfbench.sweep.figures import slices
    from hfbench.sweep.trial_rows import points
    from hfbench.sweep.trials import Trial

    sweep, home = load_study(of.name).sweep, PUBLISHED / of.name
    assert sweep is not None
    table = pd.read_parquet(home / "trials.parquet").query("task == @TASK and stage == 'tuning'")
    trials = {}
    for index, rows in table.groupby("trial"):
        measures = {
            row["seed"]: {measure: row[measure] for measure in sweep.measures} for row in rows.to_dict("records")
        }
        params = {setting: rows.iloc[0][setting] for setting in sweep.parameters}
        trials[index] = Trial(index, index, params, rows.iloc[0]["state"], "", "", measures)
    frozen = (read_json(home / "sweep.json") or {})["frozen"][TASK]["trial"]
    shown = points(trials, sweep)
    return slices(shown, sweep.parameters, path, measure="work", frozen=frozen, title=TASK)


FIGURES: dict[str, tuple[str, Drawing]] = {  # by name: the study, and how it is drawn
    "convergence": ("paper", convergence),
    "forest": ("paper", forest),
    "interactions": ("paper", interactions),
    "batches": ("paper", batches),
    "inner": ("paper", inner),
    "memory": ("paper", memory),
    "profile": ("thresholds-frozen", profile),
    "slices": ("thresholds", slices),
}


@cache
def drawn() -> dict[str, Path]:
    """Every figure by its path in the site; drawn once for a process, into a folder that lasts as long."""
    folder = Path(tempfile.mkdtemp(prefix="hfbench-gallery-"))
    records = {study: Records(study, folder) for study, _ in FIGURES.values()}
    return {f"figures/{name}.png": draw(records[study], folder / name)[0] for name, (study, draw) in FIGURES.items()}
