"""`hfbench ui`: the MLflow UI of the recorded runs, on this machine only."""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from hfbench.errors import ConfigError, StoreError
from hfbench.tracking.local_store import has_store, is_behind_server, local_uri, take_home, tracking_uri

MLFLOW_GREETING = "[MLflow] Security middleware enabled"  # on stderr at every start; no option or level quiets it
PATIENCE = 5.0  # seconds the server has to end when asked


def ui(results: Path, port: int = 5000) -> None:
    """Runs the MLflow UI on this machine only, until Ctrl-C or a signal ends it and all its processes.

    Raises StoreError if there is no store or the server ends by itself; ConfigError if the store is behind a server, or
    the port is out of range or taken.
    """
    uri = tracking_uri(results)
    if uri == local_uri(results):
        if not has_store(results):
            raise StoreError(
                f"no runs are recorded in {results}: mlflow.db is missing or empty. Run a study first: `hfbench run`."
            )
        take_home(results)
    if is_behind_server(uri):
        raise ConfigError(
            "MLFLOW_TRACKING_URI names a server, which has its own UI: open its address in a browser, or unset it "
            f"to see what is recorded in {results}."
        )
    _check_port(port)
    with _caught_signals() as caught:
        # In a session of its own: one signal then reaches MLflow and the web worker it starts, and no other does.
        process = subprocess.Popen(
            ui_command(uri, port),
            env=ui_environment(),
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        relay = threading.Thread(target=_relay, args=(process.stderr,), daemon=True)
        relay.start()
        try:
            _watch(process, port, caught)
        finally:
            _end(process)
            relay.join(1.0)
    if not caught:
        raise StoreError(f"the MLflow server ended by itself with status {process.returncode}; its messages are above.")


def ui_command(uri: str, port: int) -> list[str]:
    # The UI can start programs on this machine for whoever reaches it: never bind it beyond the loopback.
    serve = ["ui", "--app-name", "hfbench", "--backend-store-uri", uri, "--host", "127.0.0.1", "--port", str(port)]
    small = ["--workers", "1", "--registry-store-uri", uri]
    quiet = ["--uvicorn-opts", "--log-level warning --timeout-graceful-shutdown 2"]
    return [sys.executable, "-m", "mlflow", *serve, *small, *quiet]


def ui_environment() -> dict[str, str]:
    """Environment of the server: one web worker, no job consumers (2 processes instead of 15), no MLflow warnings."""
    quiet = {"MLFLOW_LOGGING_LEVEL": "WARNING", "PYTHONWARNINGS": "ignore"}
    fixed = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {**quiet, **os.environ, **fixed}


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ConfigError(f"a port must lie in 1 to 65535, but got {port}.")
    with socket.socket() as probe:
        if sys.platform != "win32":  # as the server does: a port just left is free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            taken = "it is taken by another program, perhaps another `hfbench ui`"
            reason = taken if error.errno == errno.EADDRINUSE else error.strerror
            raise ConfigError(f"port {port} must be free, but {reason}. Choose another with --port.") from error


@contextlib.contextmanager
def _caught_signals() -> Iterator[list[int]]:
    """Collects Ctrl-C, `kill` and a closed terminal in the list, unless they are ignored already (nohup)."""
    caught: list[int] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    before = {number: handler for number, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, lambda number, frame: caught.append(number))
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(process: subprocess.Popen[str], port: int, caught: list[int]) -> None:
    """Waits until a signal comes or the server ends, and prints the address once the server answers."""
    announced = False
    while not caught and process.poll() is None:
        if not announced and _answers(port):
            print(f"MLflow UI at http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
            print(_addresses(port), end="", flush=True)
            announced = True
        time.sleep(0.1)


def _addresses(port: int) -> str:
    """Name and address of every study, as the server lists them; nothing where it does not."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)  # by no proxy
    try:
        connection.request("GET", "/studies.txt")
        answer = connection.getresponse()
        return answer.read().decode("utf-8", "replace") if answer.status == 200 else ""
    except (OSError, http.client.HTTPException):
        return ""
    finally:
        connection.close()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False


def _relay(messages: IO[str]) -> None:
    for line in messages:
        if not line.startswith(MLFLOW_GREETING):
            with contextlib.suppress(OSError):  # who would read them may have left; the server must not wait for it
                sys.stderr.write(line)
                sys.stderr.flush()


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the server and all its processes, first with SIGTERM, then with SIGKILL."""
    if sys.platform == "win32":
        process.terminate()
    else:
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + PATIENCE
            left = _signal_group(process.pid, number)
            while left and time.monotonic() < deadline:
                time.sleep(0.05)
                process.poll()  # a process that was not waited for would count as left
                left = _signal_group(process.pid, 0)
            if not left:
                break
    process.wait()


def _signal_group(leader: int, number: int) -> bool:
    """Signals the process group. True if a process of it is left; macOS refuses once all have ended."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True
