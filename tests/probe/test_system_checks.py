"""Systems that others send: whatever is in a file, it costs one sentence, and nothing in it becomes a path."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.frozen_zoo import zoo
from support.hostile_systems import CHANGES, changed, mutated, payload_of, put, sealed, values_of

from hfbench.commands.probe_solvers import probe_solvers
from hfbench.errors import HfbenchError, StoreError
from hfbench.probe import frozen_system
from hfbench.probe.frozen_system import FrozenSystem, notes_on, read_system
from hfbench.probe.solver_on_system import Arm
from hfbench.records.files import is_safe_name

LONGEST = 1500  # characters of a message


def opened(held: bytes, path: Path) -> FrozenSystem:
    """The system in a file of these contents, as every probe opens it."""
    path.write_bytes(held)
    frozen = read_system(path)
    assert is_safe_name(frozen.name)
    frozen.open()
    return frozen


@pytest.mark.parametrize("words", list(CHANGES))
def test_a_changed_system_with_a_correct_checksum_is_refused_in_a_sentence(tmp_path: Path, words: str) -> None:
    with pytest.raises(HfbenchError) as refused:
        opened(changed(zoo()[1], CHANGES[words]), tmp_path / "one.system")
    message = str(refused.value)
    assert len(message) < LONGEST
    assert message.isprintable()
    assert [path.name for path in tmp_path.iterdir()] == ["one.system"]


@pytest.mark.parametrize("field", [("run", "method", "name"), ("run", "task")])
def test_a_name_in_a_file_is_no_path(tmp_path: Path, field: tuple[str, ...]) -> None:
    """It had `probe solvers` write a figure beside the folder of its results."""
    beside, into = tmp_path / "x", tmp_path / "a" / "b" / "c"
    beside.mkdir()
    into.mkdir(parents=True)
    (into / "solvers-hf-").mkdir()  # as those who know the folder could have it
    (into / "solvers-").mkdir()
    path = into / "one.system"
    path.write_bytes(changed(zoo()[1], put(*field, value="/../../../../x/y")))
    with pytest.raises(StoreError, match="must be text of at most 100 letters"):
        probe_solvers([read_system(path)], [Arm("cg", "martens")], 2, 5, into, Console(file=io.StringIO()))
    assert list(beside.iterdir()) == []


def test_the_captured_system_itself_is_taken(tmp_path: Path) -> None:
    for frozen in (
        *zoo(),
        zoo()[1].damped(0.01),
        *zoo("methods.shf.preconditioner={use='kfac',memory=0.9}", method="shf"),
    ):
        again = opened(sealed(payload_of(values_of(frozen))), tmp_path / "one.system")
        assert again.seen == frozen.seen


def test_a_false_digest_of_what_was_seen_is_said(tmp_path: Path) -> None:
    """It may be another machine's, so that it is said and not refused."""
    assert notes_on(zoo()[1]) == []
    false = opened(changed(zoo()[1], put("seen", "gradient", value="0" * 64)), tmp_path / "one.system")
    screen = io.StringIO()
    probe_solvers([false], [Arm("cg", "martens")], 2, 5, tmp_path / "into", Console(file=screen, width=80))
    assert "hf-tiny-curves-s0-i2: its gradient is the run's to rounding only" in screen.getvalue()


def test_a_system_beyond_the_bound_is_neither_written_nor_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen_system, "LARGEST", 2**16)
    with pytest.raises(StoreError, match=r"must have at most 0.0625 MiB, but .*none.system would have 0.1: capture a"):
        zoo()[1].save(tmp_path / "none.system")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(frozen_system, "LARGEST", 2**20)
    path = tmp_path / "sparse.system"
    with path.open("wb") as file:
        file.truncate(2**21)
    with pytest.raises(StoreError, match=r"it has 2.0 MiB, more than the 1 MiB allowed"):
        read_system(path)


# ---------------------------------------------------------------- at random


@pytest.mark.parametrize(
    "seeds",
    [
        range(60),
        pytest.param(range(60, 200), marks=pytest.mark.slow),
        pytest.param(range(200, 500), marks=[pytest.mark.slow, pytest.mark.long]),
    ],
    ids=["few", "more", "many"],
)
def test_systems_changed_at_random_are_refused_in_a_sentence_or_taken_whole(tmp_path: Path, seeds: range) -> None:
    frozen = zoo()[1]
    for seed in seeds:
        message, taken = "", None
        try:
            taken = opened(mutated(frozen, seed), tmp_path / "one.system")
        except HfbenchError as error:
            message = str(error)
        assert len(message) < LONGEST, seed
        assert message.isprintable(), seed
        assert [path.name for path in tmp_path.iterdir()] == ["one.system"], seed
        if taken is not None:
            assert (taken.iteration, taken.met, taken.run["seed"]) == (frozen.iteration, frozen.met, 0), seed
