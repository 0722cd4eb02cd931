"""Trials of a sweep in an Optuna storage: processes claim them, record their seeds and end them.

A trial is identified by its index, which is an attribute of it. Optuna's numbers count attempts, since a trial whose
process died elsewhere is started anew with the settings and seeds it had. Several processes may share a storage; each
works on its own trials.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfbench.errors import StoreError
from hfbench.records.locks import store_lock
from hfbench.sweep.sampling import Params, quietly

if TYPE_CHECKING:
    import optuna

BEAT, GRACE = 60, 180  # seconds between signs of life, and after which silence means that the process is gone
SEED = "seed/"  # before the seed, in the names of attributes
RUNNING, COMPLETE, PRUNED, FAILED = "running", "complete", "pruned", "failed"


@dataclass(frozen=True)
class Trial:
    """One setting of a method, and the results of its runs."""

    index: int
    number: int  # Optuna's
    params: Params
    state: str
    home: str  # the process group that works on it
    token: str
    measures: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # by seed
    why: str = ""  # it failed

    @property
    def ended(self) -> bool:
        return self.state != RUNNING and not self.gone

    @property
    def gone(self) -> bool:
        """True if its process is gone, so that the failure is not the trial's."""
        return self.state == FAILED and not self.why


class TakenOver(Exception):
    """Another process has started the trial anew, after `GRACE` seconds without a sign of life from this one."""


class Trials:
    """The trials of one sweep on one task."""

    def __init__(self, url: str, name: str, results: Path, home: str, objectives: int) -> None:
        """Opens the storage, and creates it if there is none. Raises StoreError if that fails.

        `home` names the place of work: trials of the same home are resumed at once, others after `GRACE` seconds
        without a sign of life.
        """
        self.home, self._shown = home, _shown(url)
        self._over, self._beating = threading.Event(), threading.Thread(target=self._keep_beating, daemon=True)
        self._mine: set[int] = set()  # Optuna's ids of the trials that are worked on here
        try:
            with store_lock(results), quietly():
                try:
                    self._open(url, name, objectives)
                except Exception:  # processes on two machines that make the tables at once are in each other's way
                    time.sleep(1.0)
                    self._open(url, name, objectives)
        except Exception as error:  # what a database and its driver raise is theirs
            said = str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__]
            driver = " PostgreSQL's driver: `pip install 'psycopg[binary]'`." if isinstance(error, ImportError) else ""
            raise StoreError(
                f"the Optuna storage {self._shown} must be reachable and writable, but: {said[0].rstrip('.')}.{driver} "
                "--storage names another one."
            ) from error

    def _open(self, url: str, name: str, objectives: int) -> None:
        import optuna

        self._storage = optuna.storages.RDBStorage(url, heartbeat_interval=BEAT, grace_period=GRACE)
        atexit.register(self._storage.engine.dispose)  # or SQLite leaves its journal beside the file
        self._study = optuna.create_study(
            study_name=name, storage=self._storage, load_if_exists=True, directions=["minimize"] * objectives,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )  # fmt: skip
        self._study_id = self._storage.get_study_id_from_name(name)

    def __enter__(self) -> Trials:
        self._beating.start()
        return self

    def __exit__(self, *of: object) -> None:
        self._over.set()
        self._beating.join()

    # ------------------------------------------------------------ reading

    def all(self) -> dict[int, Trial]:
        """Every trial by index; of a trial that was started twice, the attempt that counts.

        Raises StoreError if what the storage holds cannot be read.
        """
        found: dict[int, Trial] = {}
        for trial in sorted(self._attempts(), key=lambda one: one.number):
            before = found.get(trial.index)
            if before is None or before.gone:
                found[trial.index] = trial
        return found

    def _attempts(self) -> list[Trial]:
        try:
            held = self._study.get_trials(deepcopy=False)
            return [_trial_of(frozen) for frozen in held if "index" in frozen.user_attrs]
        except Exception as error:  # what a database raises is its own
            said = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")
            raise StoreError(
                f"the Optuna storage {self._shown} must hold the trials of this sweep, but they cannot be read: "
                f"{type(error).__name__}: {said}. Move it away, or name another with --storage, to begin the sweep "
                "anew; runs that are recorded are not repeated."
            ) from error

    # ------------------------------------------------------------ writing

    def begin(self, index: int, params: Params, space: Mapping[str, Any]) -> Trial | None:
        """Claims the trial for this process; None if another process was first."""
        return self._begun(index, params, space, {})

    def take_up(self, trial: Trial, space: Mapping[str, Any]) -> Trial | None:
        """Resumes a trial whose process is gone: in place if it is running and of this home, else in a new attempt."""
        if trial.home == self.home and trial.state == RUNNING:
            self._keep(trial)
            return trial
        return self._begun(trial.index, trial.params, space, trial.measures)

    def fail_the_silent(self) -> None:
        """Fails the trials of processes without a sign of life, so that `take_up` starts them anew."""
        import optuna

        self._beat()  # this process may have slept
        with quietly():
            optuna.storages.fail_stale_trials(self._study)

    def record(self, trial: Trial, seed: int, measures: Mapping[str, float], score: float) -> None:
        """Records the result of a seed's run; `score` is the pruner's value, unused with several objectives.

        Raises TakenOver, as `end` does.
        """
        import optuna

        open_ = optuna.trial.Trial(self._study, self._id(trial))
        with _ours():
            open_.set_user_attr(f"{SEED}{seed}", dict(measures))
        if len(self._study.directions) == 1:
            open_.report(score, step=seed)

    def end(self, trial: Trial, state: str, values: list[float], why: str = "") -> None:
        """Ends a trial as complete with its values, as pruned, or as failed, with the reason."""
        import optuna
        from optuna.trial import TrialState

        states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
        if why:
            with _ours():
                optuna.trial.Trial(self._study, self._id(trial)).set_user_attr("why", why)
        self._study.tell(trial.number, values if state == COMPLETE else None, state=states[state])
        self._mine.discard(self._id(trial))

    def _begun(
        self, index: int, params: Params, space: Mapping[str, Any], measures: Mapping[int, Mapping[str, float]]
    ) -> Trial | None:
        from optuna.trial import TrialState, create_trial

        token = uuid.uuid4().hex
        known = {f"{SEED}{seed}": dict(values) for seed, values in measures.items()}
        attributes = {"index": index, "home": self.home, "token": token, **known}
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING, params=dict(params), distributions=dict(space), user_attrs=attributes
            )
        )
        counts = self.all()[index]
        own = next(trial for trial in self._attempts() if trial.token == token)
        if counts.token != token:  # another process added it first
            self.end(own, FAILED, [], why="started by another process at the same moment")
            return None
        self._keep(own)
        return own

    def _keep(self, trial: Trial) -> None:
        self._mine.add(self._id(trial))
        self._storage.record_heartbeat(self._id(trial))

    def _id(self, trial: Trial) -> int:
        return int(self._storage.get_trial_id_from_study_id_trial_number(self._study_id, trial.number))

    def _keep_beating(self) -> None:
        while not self._over.wait(BEAT):
            self._beat()

    def _beat(self) -> None:
        for trial in list(self._mine):
            with contextlib.suppress(Exception):  # a storage that is away for a moment
                self._storage.record_heartbeat(trial)


@contextlib.contextmanager
def _ours() -> Iterator[None]:
    from optuna.exceptions import UpdateFinishedTrialError

    try:
        yield
    except UpdateFinishedTrialError as error:
        raise TakenOver from error


def _trial_of(frozen: optuna.trial.FrozenTrial) -> Trial:
    """The trial that an attempt is of. Raises KeyError, TypeError or ValueError for attributes that are not ours."""
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED, TrialState.FAIL: FAILED}
    attributes = frozen.user_attrs
    measures = {
        int(name.removeprefix(SEED)): {measure: float(value) for measure, value in values.items()}
        for name, values in attributes.items()
        if name.startswith(SEED)
    }
    if not all(0 <= value < math.inf for values in measures.values() for value in values.values()):
        raise ValueError("a measure is no number from 0")
    if type(attributes["index"]) is not int:
        raise TypeError("an index is no whole number")
    return Trial(
        index=attributes["index"],
        number=frozen.number,
        params=frozen.params,
        state=states.get(frozen.state, RUNNING),
        home=str(attributes["home"]),
        token=str(attributes["token"]),
        measures=measures,
        why=str(attributes.get("why", "")),
    )


def _shown(url: str) -> str:
    """A URL without its password."""
    from sqlalchemy.engine import make_url

    with contextlib.suppress(Exception):
        return make_url(url).render_as_string(hide_password=True)
    return url
