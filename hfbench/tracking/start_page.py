"""Start page of `hfbench ui`: the studies of a store with question, verdict and date, each a link to its view.

MLflow's server takes an application by its name, `mlflow server --app-name hfbench`: its own with these pages more, on
the same host, port and security middleware, so that whoever cannot reach MLflow cannot reach them. They fetch nothing.

    /studies                  the page
    /studies/<study>          leads to the view of a study, and /studies/<study>/<task> to that of one task
    /studies.txt              name and address of every study, a line each

MLflow's front page leads here, and has its assistant shut and its half for trained models open for whoever comes for
the first time.
"""

from __future__ import annotations

import html
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hfbench.tracking.study_page import JUDGED, StudyEntry, entries
from hfbench.tracking.study_view import page_path, task_key

if TYPE_CHECKING:
    from flask import Response

# What a browser keeps of MLflow's page, set before that is drawn, unless a user has chosen otherwise.
FIRST_VISIT = """<script>
for (const [key, value] of [
  ["mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true"], ["mlflow.workflowType_v1", '"machine_learning"'],
]) if (localStorage.getItem(key) === null) localStorage.setItem(key, value);
if (!location.hash) location.replace("studies");
</script>"""
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 62rem; margin: 2.5rem auto;
  padding: 0 1.5rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; font-weight: 600; } h2 { font-size: 1.1rem; margin: 0; }
article { border-top: 1px solid #d5d9de; padding: 1.1rem 0; } p { margin: .25rem 0; } a { color: #0a58a8; }
.question, .when, footer { color: #5b6470; } .answer { font-size: 1.05rem; } .open { color: #8a5a00; }
header { display: flex; justify-content: space-between; gap: 1rem; align-items: baseline; }
.when { white-space: nowrap; }
footer { border-top: 1px solid #d5d9de; padding-top: 1rem; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #16191d; } a { color: #7db7f5; }
  article, footer { border-color: #3a4049; } .question, .when, footer { color: #9aa4b1; } .open { color: #e0b060; } }
"""
# Nothing is fetched, run or sent anywhere, whatever the texts of a study hold.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def start_page(studies: Sequence[StudyEntry]) -> str:
    """The whole page; every text of a study is escaped, and its direction kept apart."""
    none = "<p>No study is recorded here yet: <code>hfbench run</code> makes one.</p>"
    shown = "\n".join(map(_article, studies)) or none
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>hfbench: studies</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body><h1>Studies</h1>\n<main>\n{shown}\n</main>\n"
        f'<footer><p>The runs are in MLflow: <a href="/#/experiments">all experiments</a>.</p></footer></body></html>\n'
    )


def _article(study: StudyEntry) -> str:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(study.changed)) if study.changed else ""
    title = f'<h2><a href="{study_path(study.name)}">{_text(study.name)}</a></h2>'
    lines = [f'<header>{title}<span class="when">{when}</span></header>']
    if study.question:
        lines.append(f'<p class="question">{_text(study.question)}</p>')
    if not study.has_view:
        cure = "<code>hfbench compare</code> writes its verdict here."
        lines.append(f'<p class="open">An earlier version recorded it: {cure}</p>')
    elif study.status != JUDGED:
        before = ". The last verdict:" if study.answer else "; there is no verdict yet."
        lines.append(f'<p class="open">{_text(study.status)}{before}</p>')
    if study.answer:
        lines.append(f'<p class="answer">{_text(study.answer)}</p>')
    if study.tasks:
        links = (f'<a href="{study_path(study.name, task)}">{_text(task)}</a>' for task in study.tasks)
        lines.append(f"<p>By task: {' · '.join(links)}</p>")
    return f"<article>{''.join(lines)}</article>"


def _text(text: str) -> str:
    return f"<bdi>{html.escape(text)}</bdi>"


def study_path(name: str, task: str = "") -> str:
    return f"/studies/{quote(name, safe='')}" + (f"/{quote(task, safe='')}" if task else "")


def view_path(study: StudyEntry, task: str = "") -> str:
    """The page of MLflow that a study opens on; that of its runs where it has no view."""
    if study.has_view:
        return f"/{page_path(study.experiment, task_key(task, study.tasks))}"
    return f"/#/experiments/{quote(study.experiment)}/runs?workflowType=machine_learning"


def address_lines(studies: Sequence[StudyEntry], origin: str) -> str:
    width = max((len(study.name) for study in studies), default=0)
    return "".join(f"{study.name:{width}}   {origin}{study_path(study.name)}\n" for study in studies)


# ---------------------------------------------------------------- the server


def app() -> Any:
    """MLflow's application with the start page; named in pyproject.toml as an entry point of `mlflow.app`."""
    from mlflow.server import app as pages
    from mlflow.server.fastapi_app import app as server

    pages.add_url_rule("/studies", view_func=_start)
    pages.add_url_rule("/studies.txt", view_func=_addresses)
    pages.add_url_rule("/studies/<name>", view_func=_lead)
    pages.add_url_rule("/studies/<name>/<task>", view_func=_lead)
    pages.view_functions["serve"] = _front(pages.view_functions["serve"])
    return server


def _studies() -> list[StudyEntry]:
    from mlflow.server.constants import BACKEND_STORE_URI_ENV_VAR
    from mlflow.tracking import MlflowClient

    return entries(MlflowClient(tracking_uri=os.environ[BACKEND_STORE_URI_ENV_VAR]))


def _respond(body: str, status: int = 200, kind: str = "text/html") -> Response:
    from flask import Response

    headers = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
    return Response(body, status, headers, mimetype=kind)


def _start() -> Response:
    return _respond(start_page(_studies()))


def _addresses() -> Response:
    from flask import request

    return _respond(address_lines(_studies(), request.host_url.rstrip("/")), kind="text/plain")


def _lead(name: str, task: str = "") -> Response:
    """Leads to the view; where there is no such study, says which there are."""
    studies = {study.name: study for study in _studies()}
    if name not in studies:
        return _respond(start_page(list(studies.values())), 404)
    response = _respond("", 302)
    response.headers["Location"] = view_path(studies[name], task)
    return response


def _front(serve: Callable[..., Any]) -> Callable[[], Response]:
    """MLflow's front page, from which all of its pages are drawn, with what a first visit finds."""

    def front() -> Response:
        from flask import Response, make_response

        page = make_response(serve())
        page.direct_passthrough = False  # it is sent from the file as it is
        text = page.get_data(as_text=True)
        page.close()
        return Response(text.replace("<head>", f"<head>{FIRST_VISIT}", 1), headers={"Cache-Control": "no-cache"})

    return front
