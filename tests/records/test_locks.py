from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from support.misplaced_files import MISPLACED, PRIVATE, PRIVATE_FILE, soon

from hfbench.errors import ConfigError, StoreError
from hfbench.records.locks import FOLDER, TakenError, store_lock, study_lock

HOLDS = """
import sys, time
from pathlib import Path
from hfbench.records.locks import study_lock
with study_lock(Path(sys.argv[1]), "tiny", "hfbench run"):
    print("held", flush=True)
    time.sleep(60)
"""


def holding(results: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(results)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_comes_second_is_told_who_holds_it_and_since_when(tmp_path: Path) -> None:
    with holding(tmp_path) as process:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(TakenError) as caught:
            study_lock(tmp_path, "tiny", "hfbench compare")
        process.kill()
    since = r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d"
    holder = rf"`hfbench run`, process {process.pid} on {re.escape(socket.gethostname())}, since {since}"
    assert re.fullmatch(holder, caught.value.holder)
    assert caught.value.holder in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
def test_kill_9_frees_it(tmp_path: Path) -> None:
    with holding(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
    with study_lock(tmp_path, "tiny", "hfbench run"), pytest.raises(TakenError, match=f"process {os.getpid()} "):
        study_lock(tmp_path, "tiny", "hfbench run")


def test_it_is_free_after_the_block_and_other_studies_are_their_own(tmp_path: Path) -> None:
    for _ in range(2):
        with study_lock(tmp_path, "tiny", "hfbench run"):
            with study_lock(tmp_path, "other", "hfbench run"), pytest.raises(TakenError, match="other is worked on"):
                study_lock(tmp_path, "other", "hfbench run")
            with pytest.raises(TakenError, match="tiny is worked on"):
                study_lock(tmp_path, "tiny", "hfbench run")
    for name in ("tiny", "other"):
        with study_lock(tmp_path, name, "hfbench compare"):
            assert "hfbench compare" in (tmp_path / FOLDER / f"study-{name}").read_text()


def test_the_lock_of_the_store_is_waited_for(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with store_lock(tmp_path):
            order.append("second")

    with store_lock(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.2)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", '{"command": "x"}'])
def test_a_holder_that_has_not_signed_is_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with study_lock(tmp_path, "tiny", "hfbench run"):
        (tmp_path / ".locks" / "study-tiny").write_text(text)
        with pytest.raises(TakenError, match="by another process"):
            study_lock(tmp_path, "tiny", "hfbench run")


def test_a_folder_that_cannot_be_written_and_a_name_that_leads_elsewhere_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="must be writable"):
        study_lock(tmp_path / "file", "tiny", "hfbench run")
    with pytest.raises(ConfigError):
        study_lock(tmp_path, "../tiny", "hfbench run")


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks")
@pytest.mark.parametrize("answer", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_file_system_without_locks_keeps_nobody_from_working(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    import fcntl

    def flock(*of: object) -> None:
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr(fcntl, "flock", flock)
    entered = []
    with study_lock(tmp_path, "tiny", "hfbench run"), study_lock(tmp_path, "tiny", "hfbench compare"):
        entered.append("study")
    with store_lock(tmp_path):
        entered.append("store")
    assert entered == ["study", "store"]


def test_the_file_of_a_lock_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / FOLDER / "lock-store").mkdir(parents=True)
    with pytest.raises(StoreError, match="store must be writable, but: Is a directory"):
        store_lock(tmp_path)


def test_a_lock_that_cannot_be_signed_is_said_and_freed(tmp_path: Path) -> None:
    path = tmp_path / FOLDER / "study-tiny"
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match=r"study-tiny must be writable, but: .* move the folder \.locks away"):
        study_lock(tmp_path, "tiny", "hfbench run")
    path.rmdir()
    with study_lock(tmp_path, "tiny", "hfbench run"):
        assert path.is_file()


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_what_stands_where_the_holder_signs_is_replaced_and_never_written_to(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "results" / FOLDER / "study-tiny"
    path.parent.mkdir(parents=True)
    MISPLACED[kind](path)
    private = tmp_path / PRIVATE_FILE
    with soon(lambda: study_lock(tmp_path / "results", "tiny", "hfbench run")):
        assert "hfbench run" in path.read_text()
        assert not path.is_symlink()
    assert not private.exists() or private.read_bytes() == PRIVATE


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_a_holder_that_cannot_be_read_is_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    with study_lock(tmp_path, "tiny", "hfbench run"):
        path = tmp_path / FOLDER / "study-tiny"
        path.unlink()
        MISPLACED[kind](path)
        with pytest.raises(TakenError, match="by another process"):
            soon(lambda: study_lock(tmp_path, "tiny", "hfbench run"))


@pytest.mark.parametrize("kind", ["link out", "pipe"])
def test_the_locked_file_is_a_file_of_the_folder(tmp_path: Path, kind: str) -> None:
    locks = tmp_path / "results" / FOLDER
    locks.mkdir(parents=True)
    MISPLACED[kind](locks / "lock-store")
    with suppress(StoreError):  # a link is refused; a pipe can be locked
        soon(lambda: store_lock(tmp_path / "results")).__exit__()
    if kind == "link out":
        assert (tmp_path / PRIVATE_FILE).read_bytes() == PRIVATE


def test_a_folder_of_locks_that_is_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match=r"\.locks must lie in the results folder, but is a link out of it"):
        study_lock(tmp_path / "results", "tiny", "hfbench run")
    assert not list((tmp_path / "elsewhere").iterdir())
