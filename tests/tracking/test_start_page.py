"""The start page: what it says of every study, where it leads, and that texts of others mean nothing in it."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support.tiny_study import uses_mlflow

from hfbench.tracking.local_store import local_uri
from hfbench.tracking.mlflow_store import Tracker
from hfbench.tracking.start_page import address_lines, app, start_page, view_path
from hfbench.tracking.study_page import ANSWER, JUDGED, QUESTION, STATUS, StudyEntry, write_page
from hfbench.tracking.study_view import study_views

EVIL = "<script>alert(1)</script>\"'><img src=http://x.example/y.png> \u202e"


def entry(name: str = "tiny", **more: Any) -> StudyEntry:
    about = {"question": "Is it?", "answer": "lsmr won: 0.5x.", "status": JUDGED, "changed": 1.8e9, "tasks": ()}
    return StudyEntry(name=name, experiment="3", has_view=True, **(about | more))


class Seen(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action", "style")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_every_study_has_question_verdict_date_and_link() -> None:
    seen = Seen(start_page([entry(), entry("other", answer="hf won.", tasks=("usps", "mnist"))]))
    for said in ("tiny", "Is it?", "lsmr won: 0.5x.", "2027-01-15", "other", "hf won."):
        assert said in seen.text
    assert seen.addresses == [
        *("/studies/tiny", "/studies/other", "/studies/other/usps", "/studies/other/mnist", "/#/experiments"),
    ]


def test_studies_without_a_verdict_say_so() -> None:
    running = Seen(start_page([entry(status="Under way, 3 of 14 runs recorded", answer="")])).text
    assert "Under way, 3 of 14 runs recorded; there is no verdict yet." in running
    again = Seen(start_page([entry(status="Interrupted, 3 of 14 runs recorded")])).text
    assert "Interrupted, 3 of 14 runs recorded. The last verdict:" in again
    assert "lsmr won" in again
    bare = StudyEntry("old", "3", "", "", "", 0.0, (), has_view=False)
    assert "hfbench compare writes its verdict here" in Seen(start_page([bare])).text
    assert "No study is recorded" in Seen(start_page([])).text


def test_texts_of_others_are_no_markup_and_nothing_is_fetched() -> None:
    page = start_page([entry(EVIL, question=EVIL, answer=EVIL, status=EVIL, tasks=(EVIL,))])
    seen = Seen(page)
    assert {"script", "img", "link", "iframe", "form"}.isdisjoint(seen.tags)
    assert seen.text.count("alert(1)") == 5
    assert all(address.startswith(("/studies/", "/#/")) for address in seen.addresses)
    assert "<bdi>" in page


def test_a_study_leads_to_its_view_and_an_older_one_to_its_runs() -> None:
    several = entry(tasks=("usps", "mnist"))
    assert view_path(entry()).startswith("/#/experiments/3/runs?viewStateShareKey=hfbench&")
    assert "viewStateShareKey=hfbench&" in view_path(several, "usps")
    assert "viewStateShareKey=hfbench-mnist&" in view_path(several, "mnist")
    assert "viewStateShareKey=hfbench&" in view_path(several, "no-task")
    assert view_path(StudyEntry("old", "4", "", "", "", 0.0, (), has_view=False)) == (
        "/#/experiments/4/runs?workflowType=machine_learning"
    )


def test_addresses_are_a_line_each_whatever_a_name_holds() -> None:
    assert address_lines([entry(), entry("longer")], "http://127.0.0.1:1") == (
        "tiny     http://127.0.0.1:1/studies/tiny\nlonger   http://127.0.0.1:1/studies/longer\n"
    )
    assert address_lines([entry("a\nb /?#")], "http://x").splitlines()[-1].endswith("/studies/a%0Ab%20%2F%3F%23")
    assert address_lines([], "http://x") == ""


@pytest.fixture(scope="module")
def pages() -> Any:
    """MLflow's pages with the start page, as a client asks for them."""
    app()
    from mlflow.server import app as pages

    return pages


@pytest.fixture
def browse(pages: Any, results: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR

    tracker = Tracker(results, "tiny")
    about = {QUESTION: EVIL, ANSWER: "lsmr won.", STATUS: JUDGED}
    write_page(tracker, study_views(tracker.parent, ["usps"], "work_to_target"), "", about)
    monkeypatch.setenv(BACKEND_STORE_URI_ENV_VAR, local_uri(results))
    with pages.test_client() as client:
        yield client


@uses_mlflow
@pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi")
@pytest.mark.usefixtures("own_store")
def test_the_server_shows_the_page_and_leads_to_the_views(browse: Any) -> None:
    page = browse.get("/studies")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert "lsmr won." in page.text
    assert "<script" not in page.text
    led = browse.get("/studies/tiny")
    assert (led.status_code, led.headers["Location"].split("&")[0]) == (
        *(302, "/#/experiments/1/runs?viewStateShareKey=hfbench"),
    )
    lost = browse.get("/studies/no-study")
    assert (lost.status_code, "tiny" in lost.text) == (404, True)
    assert browse.get("/studies.txt").text == "tiny   http://localhost/studies/tiny\n"


@uses_mlflow
@pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi")
@pytest.mark.usefixtures("own_store")
def test_mlflows_front_page_stays_and_leads_here_when_it_is_asked_for_nothing_else(browse: Any) -> None:
    page = browse.get("/")
    assert (page.status_code, page.mimetype) == (200, "text/html")
    head = page.text[: page.text.index("static-files/static/js/main")]
    for said in ("autoOpenedOnFirstLoad", "machine_learning", 'if (!location.hash) location.replace("studies")'):
        assert said in head
    assert "localStorage.getItem(key) === null" in head, "what a user chose stays"
