"""The pages of `hfbench ui` in a real browser. Run as a script, it takes the pictures in docs/howto/:

hfbench run quickstart --jobs 1 --results RESULTS && python tests/support/mlflow_pages.py RESULTS docs/howto
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

DEADLINE = 120.0  # seconds a page has to show what is waited for; a busy machine takes its time
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,1040",
    # With a mouse: for fingers, charts show all their buttons all the time.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)  # fmt: skip
ENTRY = "//*[@role='menuitemcheckbox' or @role='button'][normalize-space()={0}] | //button[normalize-space()={0}]"
AT_FIRST = "localStorage.clear()"  # every page is opened as if for the first time
TEXT = "//*[normalize-space(text())={0}]"


def missing() -> str | None:
    """Why no browser can be driven here, None where one can."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    absent += ["selenium"] if importlib.util.find_spec("selenium") is None else []
    cure = "apt-get install chromium chromium-driver; pip install -e '.[test]'"
    return f"needs {', '.join(absent)} ({cure})" if absent else None


class Pages:
    """MLflow's pages over one results folder, as a person reads and clicks them."""

    def __init__(self, driver: Any, address: str, printed: dict[str, str], results: Path) -> None:
        """`printed` are the addresses of studies, by name, that `hfbench ui` printed."""
        from mlflow.tracking import MlflowClient

        from hfbench.tracking.local_store import local_uri

        self.driver, self.address, self.printed = driver, address, printed
        client = MlflowClient(tracking_uri=local_uri(results))
        (experiment,) = client.search_experiments()
        self.experiment, self.study = experiment.experiment_id, experiment.name
        runs = client.search_runs([self.experiment], order_by=["attributes.start_time"])
        self.runs = {run.info.run_name: run.info.run_id for run in runs}
        self.parent = self.runs.pop(self.study)

    # ------------------------------------------------------------ where

    def open_runs(self, mode: str = "TABLE") -> None:
        self.open(f"experiments/{self.experiment}/runs", f"compareRunsMode={mode}")

    def open_comparison(self, *names: str) -> None:
        runs, experiments = (json.dumps(ids) for ids in ([self.runs[name] for name in names], [self.experiment]))
        self.open(
            "compare-runs", f"runs={quote(runs)}&experiments={quote(experiments)}"
        )  # runs first: MLflow asks for "?runs"

    def open_study(self, tab: str = "") -> None:
        self.open(f"experiments/{self.experiment}/runs/{self.parent}{tab}")

    def open(self, page: str, query: str = "") -> None:
        self.driver.get("about:blank")  # nothing of the page before can then be taken for this one's
        self.driver.get(f"{self.address}/#/{page}?{query}&workflowType=machine_learning")

    # ------------------------------------------------------------ what is there

    def text(self) -> str:
        return str(self.driver.find_element("tag name", "body").text)

    def row(self, name: str) -> str:
        """The cells of the table row that begins with a name."""
        rows = [row.text for row in self.driver.find_elements("tag name", "tr")]
        return next((" ".join(row.split()) for row in rows if row.split()[:1] == [name]), "")

    def image_width(self) -> int:
        """Of the widest picture, in its own pixels; 0 as long as none is drawn."""
        images = self.driver.find_elements("css selector", "img")
        return max((int(image.get_property("naturalWidth")) for image in images), default=0)

    def wait(self, *wanted: str) -> str:
        """The page's text once it holds all that is wanted; AssertionError with the text if it never does."""
        self.until(lambda: all(one in self.text() for one in wanted), f"{wanted} on the page")
        return self.text()

    def until(self, holds: Callable[[], Any], what: str) -> Any:
        from selenium.common.exceptions import WebDriverException

        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            with contextlib.suppress(WebDriverException):  # the page was just drawn anew
                if found := holds():
                    return found
            time.sleep(0.2)
        raise AssertionError(f"no {what} within {DEADLINE:g} s; the page shows:\n{self.text()}")

    # ------------------------------------------------------------ what a person does

    def click(self, label: str, kind: str = ENTRY) -> None:
        """A button or an entry by its label, as soon as it is there."""

        def clicked() -> bool:
            shown = [one for one in self.driver.find_elements("xpath", kind.format(repr(label))) if one.is_displayed()]
            if shown:
                shown[0].click()
            return bool(shown)

        self.until(clicked, f"{label!r} to click")

    def escape(self) -> None:
        self.driver.find_element("tag name", "body").send_keys("\ue00c")

    def group_by(self, tag: str) -> None:
        self.click("Group by")
        self.click(tag)
        self.escape()
        self.wait(f"Group by: {tag}", "Group: ")

    def choose_columns(self, *names: str, instead_of: tuple[str, ...] = ()) -> None:
        self.click("Columns")
        for name in (*instead_of, *names):
            box = self.until(
                lambda: self.driver.find_element("css selector", "[placeholder='Search columns']"), "search"
            )
            box.send_keys("\ue009a\ue000", name)  # over what was looked for before
            self.click(name, f"//*[@role='tree']/..{TEXT}")
        self.escape()

    def shoot(self, file: Path) -> None:
        time.sleep(1.0)  # charts and menus move for a moment
        self.driver.save_screenshot(str(file))


@contextlib.contextmanager
def pages(results: Path) -> Iterator[Pages]:
    """`hfbench ui` over the results and a browser with an empty profile; both have ended afterwards, come what may."""
    profile = tempfile.TemporaryDirectory(prefix="hfbench-browser-", ignore_cleanup_errors=True)
    with profile as folder, _ui(results) as (address, printed), _browser(folder) as driver:
        yield Pages(driver, address, printed, results)


@contextlib.contextmanager
def _ui(results: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of the server, and what it printed of every study."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    hfbench = [sys.executable, "-c", "from hfbench.cli.main import main; main()"]
    with subprocess.Popen(
        [*hfbench, "ui", "--results", str(results), "--port", str(port)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("MLflow UI at"), "hfbench ui did not start"
            name, address = process.stdout.readline().split()
            yield f"http://127.0.0.1:{port}", {name: address}
        finally:
            process.terminate()


@contextlib.contextmanager
def _browser(profile: str) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    # A driver that is named is not looked for or downloaded.
    driver = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": AT_FIRST})
        yield driver
    finally:
        driver.quit()


def take_pictures(results: Path, folder: Path) -> None:
    """As anyone sees them who opens what `hfbench ui` prints."""
    with pages(results) as shown:
        shown.driver.set_window_size(1100, 460)
        shown.driver.get(shown.address)
        shown.wait("Studies", shown.study)
        shown.shoot(folder / "mlflow-start.png")
        shown.driver.set_window_size(1500, 1250)
        shown.driver.get(shown.printed[shown.study])
        shown.until(lambda: len(shown.driver.find_elements("css selector", ".js-plotly-plot")) >= 5, "five charts")
        shown.shoot(folder / "mlflow-view.png")
        shown.open(f"experiments/{shown.experiment}/runs", "viewStateShareKey=hfbench")  # the button of the list
        shown.wait("verdict", "stat/ratio")
        shown.shoot(folder / "mlflow-runs.png")
        shown.open_comparison(*list(shown.runs)[:4])
        shown.click("Show diff only", "//*[@role='switch']")  # of the params
        shown.click("Visualizations")
        shown.shoot(folder / "mlflow-compare.png")
        shown.open_study()
        shown.click("Show more")
        shown.shoot(folder / "mlflow-study.png")


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]), Path(sys.argv[2]))
