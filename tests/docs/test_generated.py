"""The pages that the build makes name everything there is, and leave no cell empty."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from sitegen import (
    api_page,
    benchmark_figures,
    benchmark_page,
    cli_page,
    facts,
    markdown,
    mathml,
    outside,
    parts,
    result_tables,
    study_page,
)
from sitegen import pages as site
from support.blocks import pages

from hfbench import registry
from hfbench.curvature import work_ledger
from hfbench.curvature.pass_units import units_of
from hfbench.hessian_free.globalization import Globalization
from hfbench.parts.hyperparameters import hyperparameters
from hfbench.tasks.addition import Addition
from hfbench.tasks.mnist_conv import MNISTConv

ROOT = Path(__file__).parents[2]
GENERATED = site.generated()


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("page", [page for page in GENERATED if "python" not in page])
def test_no_cell_is_empty(page: str) -> None:
    assert all(cell for row in rows(GENERATED[page]) for cell in row)


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_every_part_has_an_entry_with_all_it_declares(family: str) -> None:
    page = GENERATED[f"reference/parts/{family}.md"]
    assert parts.own(family)
    for name in parts.own(family):
        entry = page.split(f"## `{name}`\n")[1].split("\n## ")[0]
        cls = registry.get(family, name)
        declared = [f"`{one.name}`" for one in hyperparameters(cls)]
        assert [row[0].split("</span>")[1] for row in rows(entry)[2:]] == declared
        assert "<dt>" in entry
        assert f"({family}.md#{name})" in GENERATED["reference/parts/index.md"]


def test_the_globalisation_is_there_whole() -> None:
    page = GENERATED["reference/parts/globalization.md"]
    assert all(f"`{one.name}`" in page for one in hyperparameters(Globalization))


def test_every_command_and_option_is_there() -> None:
    page = GENERATED["reference/cli.md"]
    found = dict(cli_page.commands())
    assert {"run", "sweep", "compare", "export", "list", "show", "ui", "data fetch"} <= found.keys()
    for name, command in found.items():
        entry = page.split(f"## hfbench {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            if parameter.name != "help":
                shown = parameter.opts[0] if parameter.param_type_name == "option" else parameter.name.upper()
                assert f"`{shown}" in entry, f"hfbench {name}: {shown}"


def test_every_key_of_a_study_file_is_there() -> None:
    page = GENERATED["reference/study-file.md"]
    assert {"study", "methods.<name>", "on.<task>", "ablation", "hypotheses.<name>", "sweep"} <= {
        one.where for one in study_page.TABLES
    }
    for one in study_page.TABLES:
        entry = page.split(f"## `[{one.where}]`\n")[1].split("\n## ")[0]
        assert [row[0].split("</span>")[1] for row in rows(entry)[2:]] == [f"`{key}`" for key in one.keys]


def test_every_table_that_is_read_has_a_page() -> None:
    """`known` in hfbench/config/load.py is what a study file may have at its top."""
    source = (ROOT / "hfbench/config/load.py").read_text("utf-8")
    known = re.search(r'known = \(("study".*?)\)', source)
    assert known is not None
    for name in re.findall(r'"(\w+)"', known[1]):
        assert f"## `[{name}" in GENERATED["reference/study-file.md"], name


def test_every_public_name_is_there() -> None:
    import hfbench
    from hfbench import parts

    page = GENERATED["reference/python/index.md"]
    assert api_page.modules()
    for name in set(hfbench.__all__) - {"__version__", "registry"}:
        assert f"\n## {name}\n" in page, name
    for name in parts.__all__:
        assert re.search(rf"^\| `{name}` \| [A-Z].*\. \|$", page, re.MULTILINE), name


def test_the_units_of_work_are_those_of_the_ledger() -> None:
    page = pages()["explanation/work.md"]
    said = re.findall(r"^\| `(\w+)`.*?\| (\d) \|", page, re.MULTILINE)
    assert {name: int(units) for name, units in said} == work_ledger.UNITS


def test_the_units_of_two_networks_are_those_that_are_counted() -> None:
    rows = re.findall(r"^\| ([a-z, ]+) \| (\d\.\d\d) \| (\d\.\d\d) \|", pages()["explanation/work.md"], re.MULTILINE)
    said = {kind: numbers for kinds, *numbers in rows for kind in kinds.split(", ")}
    generator = torch.Generator().manual_seed(0)
    networks = (Addition().model(generator), torch.rand(2, 30, 2)), (MNISTConv().model(generator), torch.rand(2, 784))
    units = [units_of(model, inputs) for model, inputs in networks]
    assert said == {kind: [f"{of[kind]:.2f}" for of in units] for kind in said}
    assert said.keys() == work_ledger.UNITS.keys() - {"forward", "evaluation", "deltas", "algebra"}


# ---------------------------------------------------------------- the site as a whole


def test_the_navigation_has_every_page_once() -> None:
    listed = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8"))["nav"])
    assert len(listed) == len(set(listed))
    assert set(listed) - outside.pages().keys() == pages().keys() | GENERATED.keys()


def leaves(entry: object) -> list[str]:
    if isinstance(entry, dict):
        return [page for below in entry.values() for page in leaves(below)]
    return [page for one in entry for page in leaves(one)] if isinstance(entry, list) else [str(entry)]


def test_the_gallery_says_how_to_draw_every_figure() -> None:
    shown = re.findall(
        r"\]\(\.\./studies/results/([\w-]+)/([\w-]+)\.png\)\n(.*?)(?=\n## |\Z)", pages()["gallery.md"], re.DOTALL
    )
    assert len(shown) >= 8
    for study, name, entry in shown:
        assert re.search(rf"`hfbench (compare|sweep) {study}` draws it as `{name}.png`", entry), name


# ---------------------------------------------------------------- what is committed


def test_what_is_committed_is_what_the_code_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of the results pages and the figures of the benchmarks, too."""
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: 0)
    monkeypatch.setattr(benchmark_figures, "DRAWINGS", {})
    assert site.write() == [], "write it anew: python -m docs.sitegen"


def test_what_is_stale_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "DOCS", tmp_path)
    monkeypatch.setattr(site, "generated", lambda: {"a/b.md": "new\n", "c.md": "same\n"})
    monkeypatch.setattr(result_tables, "filled", dict)
    monkeypatch.setattr(benchmark_figures, "write", list)
    (tmp_path / "c.md").write_text("same\n")
    assert site.write() == ["a/b.md"]
    assert (tmp_path / "a/b.md").read_text() == "new\n"


def test_figures_of_benchmarks_show_their_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in benchmark_page.FIGURES:
        rows = benchmark_page.on_cpus()[name]["rows"]
        assert benchmark_figures.shown(benchmark_figures.file(name)) == benchmark_figures.digest(rows)
    monkeypatch.setattr(benchmark_figures, "DOCS", tmp_path)
    (tmp_path / "explanation").mkdir()
    assert benchmark_figures.write() == [f"explanation/benchmark-{name}.png" for name in benchmark_page.FIGURES]
    assert benchmark_figures.write() == []
    assert all(file.stat().st_size > 5000 for file in tmp_path.rglob("*.png"))


# ---------------------------------------------------------------- how it is made


def test_an_empty_cell_is_refused() -> None:
    with pytest.raises(ValueError, match="must fill key, meaning"):
        markdown.table(["key", "meaning"], [["`a`", " "]])


def test_a_bar_in_a_cell_does_not_end_it() -> None:
    assert rows(markdown.table(["a"], [["x | y"]]))[-1] == [r"x \| y"]


def test_facts_keep_the_lines_of_formulas_and_let_prose_flow() -> None:
    said = facts.html("Step       x = 1\n           y = 2 < 3\nSource     a paper\n           and a page\n\nOne `a`.\n")
    assert said == (
        '<dl class="facts">\n<dt>Step</dt><dd>x = 1<br>y = 2 &lt; 3</dd>\n<dt>Source</dt><dd>a paper and a page</dd>\n'
        "</dl>\n<p>One <code>a</code>.</p>"
    )


def test_formulas_become_mathml() -> None:
    pytest.importorskip("latex2mathml")
    said = mathml.replaced(r'<p><span class="arithmatex">\(\lVert x\rVert &lt; 1\)</span></p>')
    assert said.startswith('<p><math xmlns="http://www.w3.org/1998/Math/MathML" display="inline">')
    assert said.count('<mo stretchy="false">&#x02016;</mo>') == 2
    assert "arithmatex" not in said


@pytest.mark.parametrize(
    "html",
    [
        '<script async src="https://x.org/a.js">',
        '<link rel="stylesheet" href="//x.org/a.css">',
        "<link href=https://x.org/a.png rel='shortcut icon'>",
        '<link href="https://x.org/a.css">',
    ],
)
def test_a_page_that_fetches_from_elsewhere_is_refused(html: str) -> None:
    exceptions = pytest.importorskip("mkdocs.exceptions")
    import hook

    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    assert hook.on_post_page('<script src="a.js"></script><a href="https://x.org">', page=page)
    with pytest.raises(exceptions.PluginError, match="a.md must fetch nothing from elsewhere, but fetches .*//x.org/a"):
        hook.on_post_page(html, page=page)


def test_a_page_may_name_its_own_address_as_mkdocs_serve_makes_it() -> None:
    pytest.importorskip("mkdocs")
    import hook

    html = '<link rel="canonical" href="http://127.0.0.1:8000/a.html"><link rel="stylesheet" href="a.css">'
    assert hook.on_post_page(html, page=SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))) == html


# ---------------------------------------------------------------- the benchmarks


@pytest.mark.parametrize("file", [benchmark_page.RESULTS, benchmark_page.ON_GPU], ids=lambda file: file.stem)
def test_the_page_of_benchmarks_has_every_row_that_was_measured(file: Path) -> None:
    page, found = GENERATED["explanation/benchmarks.md"], benchmark_page.results(file)
    assert all(str(value) in page for value in found["machine"].values())
    for name, one in found["benchmarks"].items():
        section = page.split(f"## {one['title']}\n")[1].split("\n## ")[0]
        assert markdown.slug(one["title"]) == name or f'<a id="{name}"></a>\n\n## {one["title"]}\n' in page
        assert len(rows(section)) == len(one["rows"]) + 2
        assert benchmark_page.about(name).splitlines()[0] in section
        assert f"`python -m benchmarks {name}`" in section


def test_what_is_no_figure_to_quote_says_so() -> None:
    found = {"title": "T", "columns": {"a": "A"}, "rows": [{"a": 1}], "busy_cores": 1.5, "quick": True}
    assert "with `--quick`" in benchmark_page.section("product", found)
    assert "kept 1.5 cores of the machine busy" in benchmark_page.section("product", found)
    assert "to quote" not in benchmark_page.section("product", found | {"busy_cores": 0.1, "quick": False})


def test_a_column_that_no_row_fills_is_none() -> None:
    found = {"columns": {"a": "A", "b": "B", "c": "C"}, "rows": [{"a": 1.23456, "b": None}, {"c": "x"}]}
    assert rows(benchmark_page.rows(found)) == [["A", "C"], ["---", "---"], ["1.23", "–"], ["–", "x"]]
