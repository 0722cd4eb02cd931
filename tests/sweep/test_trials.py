"""Trials that processes share: taken up from one that died, and left to who took them over."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from support.sweep_stand_ins import Bowl, Memory, sweep, tuned

from hfbench.errors import StoreError
from hfbench.records.sqlite_url import sqlite_url
from hfbench.sweep import trials as trials_module
from hfbench.sweep.trials import Trials
from hfbench.sweep.tuning import Tuning


def outcome(trials: Any) -> dict[int, tuple[Any, ...]]:
    """What there is of each trial but for who made it."""
    return {
        index: (one.state, dict(one.params), {seed: dict(of) for seed, of in sorted(one.measures.items())})
        for index, one in trials.all().items()
    }


def stored(folder: Path, task: Bowl, home: str = "here") -> Trials:
    folder.mkdir(parents=True, exist_ok=True)
    return Trials(sqlite_url(folder / "sweeps.db"), "bowl", folder, home, len(task.sweep.objectives))


@pytest.mark.parametrize("name", ["with space", "50% done", "feature%2Fmain", "what?", "a#b'c", "~ü{x}"])
def test_a_folder_of_any_name_has_its_storage_and_nothing_beside_it(tmp_path: Path, name: str) -> None:
    with stored(tmp_path / name, Bowl(sweep(trials=6))) as trials:
        assert trials.all() == {}
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "sweeps.db").stat().st_size > 0


def test_what_was_left_longer_than_any_process_is_waited_for_is_taken_up_by_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_module, "GRACE", 1)
    monkeypatch.setattr(trials_module, "BEAT", 1)
    task, whole = Bowl(sweep(trials=6)), Memory()
    expected = tuned(task, whole)
    with stored(tmp_path, task) as trials:
        made = tuned(task, trials, workers=3, stop_after=8)
    time.sleep(2.5)
    with stored(tmp_path, task) as trials:
        made += tuned(task, trials, workers=3)
        found = outcome(trials)
    assert sorted(made) == sorted(expected)
    assert found == outcome(whole)


@pytest.mark.slow
def test_a_process_that_slept_goes_on_without_what_another_has_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials_module, "GRACE", 1)
    task, whole = Bowl(sweep(trials=6)), Memory()
    tuned(task, whole)
    asleep = stored(tmp_path, task, "asleep")  # not entered, so that it gives no sign of life
    slow = Tuning(task, asleep)
    running = slow.ready(3)
    assert len(running) == 3
    time.sleep(2.5)
    with stored(tmp_path, task, "awake") as awake:
        tuned(task, awake)
        found = outcome(awake)
    assert found == outcome(whole)
    for _, spec in running:
        assert slow.ended(task.result(spec), 10.0) is None
    assert slow.ready(3) == []
    assert slow.over
    assert outcome(asleep) == found


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE trial_user_attributes SET value_json = '[1]' WHERE key LIKE 'seed/%'",
        "UPDATE trial_user_attributes SET value_json = '{\"work\": -1}' WHERE key LIKE 'seed/%'",
        "UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'home'",
        "UPDATE trial_user_attributes SET value_json = '\"x\"' WHERE key = 'index'",
        "DELETE FROM trial_user_attributes WHERE key = 'token'",
        "UPDATE trials SET state = 'LOST'",
    ],
)
def test_a_storage_that_was_changed_is_one_message(tmp_path: Path, change: str) -> None:
    task = Bowl(sweep(trials=2))
    with stored(tmp_path, task) as trials:
        tuned(task, trials)
    with closing(sqlite3.connect(tmp_path / "sweeps.db")) as connection, connection:
        connection.execute(change)
    with pytest.raises(StoreError, match="the Optuna storage .*sweeps.db must"):
        stored(tmp_path, task).all()


def test_a_torn_storage_is_one_message(tmp_path: Path) -> None:
    task, file = Bowl(sweep(trials=2)), tmp_path / "sweeps.db"
    with stored(tmp_path, task) as trials:
        tuned(task, trials)
    held = file.read_bytes()
    for part in (held[: len(held) // 2], held[:50], b"no database"):
        file.write_bytes(part)
        with pytest.raises(StoreError, match="the Optuna storage .*sweeps.db must"):
            stored(tmp_path, task).all()
