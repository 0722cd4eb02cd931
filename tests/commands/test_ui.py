"""The UI in a process of its own: what it refuses, what it prints, and that nothing of it is left."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.tiny_study import uses_mlflow

from hfbench.commands import ui as ui_module
from hfbench.commands.ui import ui, ui_command, ui_environment
from hfbench.errors import ConfigError, StoreError
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.study_page import ANSWER, JUDGED, QUESTION, STATUS, write_page
from hfbench.tracking.study_view import study_views

Start = Callable[[str], "subprocess.Popen[str]"]

pytestmark = [uses_mlflow, pytest.mark.usefixtures("own_store")]


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_ui_needs_a_store(tmp_path: Path, port: int) -> None:
    with pytest.raises(StoreError, match="Run a study first"):
        ui(tmp_path / "nothing", port)


def test_a_store_behind_a_server_has_its_own_ui(results: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.org")
    with pytest.raises(ConfigError, match="its own UI"):
        ui(results, port)


def test_the_ui_needs_a_free_port_and_says_so_before_it_starts(
    results: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui_module, "ui_command", lambda *of: pytest.fail("started"))
    with pytest.raises(ConfigError, match="1 to 65535"):
        ui(results, 70000)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ConfigError, match=f"port {port}.* taken .*--port"):
        ui(results, port)


def test_the_ui_stays_on_this_machine_and_small_and_quiet() -> None:
    command, environment = ui_command("sqlite:///x.db", 5001), ui_environment()
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--app-name"] == "hfbench"
    assert (options["--host"], options["--port"], options["--workers"]) == ("127.0.0.1", "5001", "1")
    assert options["--backend-store-uri"] == options["--registry-store-uri"] == "sqlite:///x.db"
    assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    assert environment["MLFLOW_DISABLE_TELEMETRY"] == "true"


SERVER = """
import socket, subprocess, sys
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('worker', flush=True); time.sleep(99)"
print("[MLflow] Security middleware enabled with default settings", file=sys.stderr)
print("a real error", file=sys.stderr)
subprocess.Popen([sys.executable, "-c", stubborn])
if sys.argv[1] == "0":
    sys.exit(7)
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        server.accept()[0].close()
"""

# Whoever runs the tests in the background or under nohup has these signals ignored, which a command would keep.
COMMAND = """
import signal, sys
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
from pathlib import Path
from hfbench.cli import main as cli
from hfbench.commands import ui
if server := sys.argv.pop():
    start = "0" if server.startswith("ends") else sys.argv[-1]
    ui.ui_command = lambda uri, port: [sys.executable, "-c", server.removeprefix("ends"), start]
    ui.PATIENCE = 0.5
cli.main()
"""


@pytest.fixture
def start_ui(results: Path, port: int) -> Iterator[Start]:
    """`hfbench ui` in a process of its own, with a stand-in for the server unless it is empty; ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(server: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", COMMAND, "ui", "--results", str(results), "--port", str(port), server]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=20)


def lines_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    lines: list[str] = []
    assert process.stdout is not None
    while not lines or not lines[-1].startswith(wanted):
        line = process.stdout.readline()
        assert line, (lines, process.stderr.read() if process.stderr else "")
        lines.append(line.rstrip())
    return lines


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_server_and_its_worker_end_with_the_command(start_ui: Start, port: int, number: int) -> None:
    process = start_ui(SERVER)
    lines = lines_until(process, "MLflow UI")
    if "worker" not in lines:
        lines += lines_until(process, "worker")
    assert sorted(lines) == [f"MLflow UI at http://127.0.0.1:{port} (Ctrl-C ends it)", "worker"]
    process.send_signal(number)
    out, err = process.communicate(timeout=20)  # ends when nobody, not even the worker, holds the other end of a pipe
    assert (process.returncode, out, err) == (0, "", "a real error\n")


def test_a_server_that_ends_by_itself_is_an_error(start_ui: Start) -> None:
    process = start_ui("ends" + SERVER)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert err == "a real error\nhfbench: the MLflow server ended by itself with status 7; its messages are above.\n"
    assert "MLflow UI" not in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_real_server_is_quiet_shows_the_study_and_ends_with_the_command(
    start_ui: Start, results: Path, port: int, number: int
) -> None:
    tracker = Tracker(results, "tiny")
    views = study_views(tracker.parent, ["usps"], "work_to_target")
    write_page(tracker, views, "", {QUESTION: "Is it?", ANSWER: "lsmr won.", STATUS: JUDGED})
    process, origin = start_ui(""), f"http://127.0.0.1:{port}"
    assert lines_until(process, "tiny ") == [
        f"MLflow UI at {origin} (Ctrl-C ends it)",
        f"tiny   {origin}/studies/tiny",
    ]
    assert b"<html" in urllib.request.urlopen(f"{origin}/").read()
    assert b"lsmr won." in urllib.request.urlopen(f"{origin}/studies").read()
    search = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search",
        data=b'{"max_results": 10}',
        headers={"Content-Type": "application/json"},
    )
    shown = json.loads(urllib.request.urlopen(search).read())["experiments"]
    assert [one["name"] for one in shown] == ["tiny"]
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))


@pytest.mark.slow
def test_the_start_page_is_shown_to_nobody_by_another_name(start_ui: Start, results: Path, port: int) -> None:
    """As of a page elsewhere whose host's name was made to lead here."""
    Tracker(results, "tiny")
    lines_until(start_ui(""), "tiny ")
    for path in ("studies", "studies.txt", "studies/tiny"):
        stranger = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(stranger)
