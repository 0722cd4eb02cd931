"""Results of a study as pandas tables, for a notebook or a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.commands.compare import PUBLISHED, nothing_recorded, recorded_runs
from hfbench.config.load import load_study
from hfbench.errors import StoreError
from hfbench.execution.screen import Screen
from hfbench.messages import did_you_mean, listed, quoted
from hfbench.records.recorded_study import RecordedStudy
from hfbench.records.study_home import with_asked_seeds
from hfbench.records.weights import check_fit
from hfbench.report import finding_tables
from hfbench.report.conclusion import command_of
from hfbench.runs.build import build_model, build_task
from hfbench.statistics.findings import Findings, findings_of, up_to_decision

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

WHOSE = ("task", "method", "seed")  # in front of a trace's own columns


def results(
    study: str,
    results: str | Path = "results",
    *,
    from_: str | Path | None = None,
    seeds: int | str | None = None,
    overrides: Sequence[str] = (),
    plugin_files: Sequence[str | Path] = (),
    data: str | None = None,
) -> StudyResults:
    """The recorded runs of a study, judged: what `hfbench compare` reports, as tables. Nothing is run or reported.

    `study` is the name of a shipped study or a file; `results` the folder of its records; `from_` an archive, or
    `"published"`. `seeds`, `overrides` and `plugin_files` are what `--seeds`, `--set` and `--plugin` are on the command
    line. Raises StoreError if no run is recorded, and ConfigError for a study that cannot be read.
    """
    folder = Path(results)
    loaded = load_study(study, overrides=overrides, seeds=seeds, plugin_files=plugin_files)
    archive = None if from_ is None else PUBLISHED if str(from_) == "published" else Path(from_)
    loaded = loaded if archive is not None else with_asked_seeds(loaded, folder)
    recorded = recorded_runs(loaded, folder, data, archive, Screen(quiet=True))
    if not recorded.ended:
        raise StoreError(nothing_recorded(recorded, command_of(loaded, (), folder)))
    recorded = up_to_decision(recorded)
    return StudyResults(recorded, findings_of(recorded))


@dataclass(frozen=True)
class StudyResults:
    """Recorded runs of a study, their traces, and what was found. Every table is a pandas DataFrame.

    A table without rows has no columns; `docs/reference/records.md` explains the columns of all others.
    """

    recorded: RecordedStudy
    found: Findings

    @property
    def runs(self) -> pd.DataFrame:
        """One row per run that has ended: outcome, costs, errors."""
        return self.recorded.runs

    @cached_property
    def traces(self) -> pd.DataFrame:
        """One row per outer iteration of every run that was not a failure, with its task, method and seed."""
        import pandas as pd

        frames = []
        for key, spec in self.recorded.specs.items():
            if key not in self.recorded.ended or not self.recorded.folder(key).trace_path.exists():
                continue
            frame = pd.DataFrame(self.recorded.folder(key).rows())
            for column, value in reversed(list(zip(WHOSE, (spec.task, spec.method.name, spec.seed), strict=True))):
                frame.insert(0, column, value)
            frames.append(frame.dropna(axis="columns", how="all"))
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    @property
    def comparisons(self) -> pd.DataFrame:
        """One row per method and task: ratio to the baseline with its interval, p-values and verdict."""
        return self._table("verdicts")

    @property
    def claims(self) -> pd.DataFrame:
        """One row per declared hypothesis and task."""
        return self._table("claims")

    @property
    def effects(self) -> pd.DataFrame:
        """One row per effect of an ablation and task."""
        return self._table("effects")

    @property
    def secondary(self) -> pd.DataFrame:
        """Ratios of all other measures, exploratory."""
        return self._table("secondary")

    def weights(self, run: str) -> dict[str, Tensor]:
        """The weights at the end of a run, by their names in the task's model. `run` is a key, or a name `hf/usps/s0`.

        Raises StoreError where none were kept, or for a file that does not fit the model.
        """
        return self._model_and_weights(run)[1]

    def model(self, run: str) -> nn.Module:
        """The model of a run's task with the weights at the end of the run, on the CPU. Raises as `weights` does."""
        model, tensors = self._model_and_weights(run)
        model.load_state_dict(tensors)
        return model

    def _model_and_weights(self, run: str) -> tuple[nn.Module, dict[str, Tensor]]:
        """The initial model of a run, and its weights at the end."""
        key = self._key(run)
        folder, spec = self.recorded.folder(key), self.recorded.specs[key]
        tensors = folder.weights() if key in self.recorded.ended else None
        if tensors is None:
            why = "was recorded without them" if key in self.recorded.ended else "is not recorded"
            raise StoreError(
                f"the weights of {spec.name} must be there, but the run {why}. keep_weights = true in [study] keeps "
                "them, and `hfbench run --make-weights` makes such runs again; a run that diverged or failed has none."
            )
        model = build_model(build_task(spec), replace(spec, device="cpu"))
        check_fit(tensors, model, str(folder.weights_path))
        return model, {name: tensors[name] for name in model.state_dict() if name in tensors}

    def _key(self, run: str) -> str:
        names = {spec.name: key for key, spec in self.recorded.specs.items()}
        if run not in names and run not in self.recorded.specs:
            near = did_you_mean(run, [*names, *self.recorded.specs])
            raise StoreError(f"no run {quoted(run)} in {self.recorded.study.name}{near}; known: {listed(names)}.")
        return names.get(run, run)

    @property
    def missing(self) -> list[str]:
        """Names of the runs that are not recorded."""
        return [spec.name for spec in self.recorded.missing]

    @cached_property
    def _tables(self) -> dict[str, list[dict[str, Any]]]:
        return finding_tables.tables(self.found)

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self._tables.get(name, []))

    def __repr__(self) -> str:
        study, ended = self.recorded.study, len(self.recorded.ended)
        return f"StudyResults({study.name!r}: {ended} of {len(self.recorded.specs)} runs)"
