"""Names and sizes: one public name is one thing, a module says what it holds, files and functions stay small."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = ("solvers", "schedulers", "tasks")
# Alike on purpose: what each text module has for its kind of finding, used as `claim_text.sentence`.
SIBLINGS = {"cells", "markdown", "sentence", "table"}
TEXTS = {f"hfbench/report/{kind}_text.py" for kind in ("claim", "comparison", "effect")}
NOT_A_THING = {"What", "How", "Which", "Where", "Whether", "When", "That", "Who", "Whose", "Why"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 70


def files() -> list[Path]:
    core = [path for path in (ROOT / "hfbench").rglob("*.py") if path.relative_to(ROOT).parts[1] not in PLUGINS]
    return sorted([*core, *(path for plugin in PLUGINS for path in (ROOT / plugin).rglob("*.py"))])


def written() -> list[Path]:
    """Every module that somebody reads, beside those of the product: documentation and benchmarks."""
    return [*files(), *sorted((ROOT / "docs").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]


def public(tree: ast.Module) -> Iterator[str]:
    """Functions and classes at the top of a module; commands of the command line are named as they are typed."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not any(".command(" in ast.unparse(decorator) for decorator in node.decorator_list):
            yield node.name


def alike(modules: dict[str, str]) -> dict[str, set[str]]:
    """The public names that several modules have."""
    homes: dict[str, set[str]] = defaultdict(set)
    for module, source in modules.items():
        for name in public(ast.parse(source)):
            homes[name].add(module)
    return {name: where for name, where in homes.items() if len(where) > 1}


def test_no_two_public_names_are_alike() -> None:
    found = alike({str(path.relative_to(ROOT)): path.read_text("utf-8") for path in files()})
    named = {name for name in SIBLINGS if found.get(name, TEXTS) <= TEXTS}
    assert {name: where for name, where in found.items() if name not in named} == {}


def test_names_alike_are_found() -> None:
    command = "@app.command('show')\ndef show(): ..."
    modules = {"a": "def show(): ...\ndef _hidden(): ...", "b": "class show: ...\ndef _hidden(): ...", "c": command}
    assert alike(modules) == {"show": {"a", "b"}}


@pytest.mark.parametrize("path", written(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_begins_with_the_thing_it_holds(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert said
    first = said.splitlines()[0]
    assert first.split()[0].rstrip(",:") not in NOT_A_THING
    assert first.endswith((".", "?", ":"))


@pytest.mark.parametrize("path", written(), ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: length for node in functions if (length := (node.end_lineno or 0) - node.lineno + 1) > 70}
    assert long == {}, f"functions of at most {LONGEST_FUNCTION} lines"


@pytest.mark.parametrize("path", written(), ids=lambda path: str(path.relative_to(ROOT)))
def test_loop_variables_say_what_they_are(path: Path) -> None:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    loops = [node.target for node in nodes if isinstance(node, ast.For | ast.comprehension)]
    names = {name.id for target in loops for name in ast.walk(target) if isinstance(name, ast.Name)}
    assert not names & {"one", "of", "on", "by", "at", "beside"}


# Where Python itself asks for the names: of attributes, of modules that are imported, of values written as code.
OWN_REPRS = {"__repr__", "__getattr__", "__setattr__", "__delattr__", "find_spec"}


def unbounded(source: str) -> list[int]:
    """Lines of f-strings that hold a whole `repr`, `{value!r}`, beside those of `OWN_REPRS`."""
    tree = ast.parse(source)
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef) and function.name in OWN_REPRS
        for node in ast.walk(function)
    }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.FormattedValue) and node.conversion == ord("r") and id(node) not in inside
        if node.format_spec is None  # `{value!r:.80}` is bounded
    ]


def test_messages_quote_the_beginning_of_a_value() -> None:
    found = {str(path.relative_to(ROOT)): unbounded(path.read_text("utf-8")) for path in files()}
    assert {path: lines for path, lines in found.items() if lines} == {}, "take hfbench.messages.quoted(value)"


def test_whole_values_in_messages_are_found() -> None:
    named = "class Part:\n    def __repr__(self):\n        return f'{self.name!r}'\n"
    assert unbounded(named + "print(f'{3!r}')\n") == [4]
