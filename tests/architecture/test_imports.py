"""Import order: every folder imports only folders above it, plugins know the core, and each library has one owner."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = ("solvers", "schedulers", "tasks", "studies")
# The folders of hfbench/, ground first: each imports only what stands above it, never what stands below.
ORDER = (
    *("memory", "linalg", "curvature", "parts", "inner_solve", "hessian_free", "config", "records", "runs"),
    *("tracking", "statistics", "execution", "figures", "probe", "diagnosis", "testing", "report", "sweep"),
    *("commands", "cli"),
)
GROUND = tuple(
    f"hfbench.{name}" for name in ("errors", "messages", "regular_files", "setting_checks")
)  # what all may import
FACE = ("hfbench", "hfbench.__main__")  # what hands out names of any folder
FOR_PLUGINS = ORDER[: ORDER.index("inner_solve") + 1]  # what a part may need
# Who imports a library: folders or modules below hfbench/, and modules of this name in any folder.
OWNERS = {
    "mlflow": tuple(
        f"tracking.{name}"
        for name in ("local_runs", "local_store", "mlflow_store", "run_metrics", "start_page", "study_runs")
    ),
    "optuna": ("sweep",),
    "matplotlib": ("figures", "*.figures"),
    "seaborn": ("figures",),
    "dask": ("execution.backends",),
    "distributed": ("execution.backends",),
    "typer": ("cli",),
    "filelock": ("records.locks",),
}

NOWHERE = "rich.markup"  # the screen shows texts as they are written


def imported(source: str, package: str) -> Iterator[str]:
    """Every module or name imported, in full, wherever it stands; `from ..` is given as it is written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level > 1:
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, (package if node.level else "", node.module)))
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                yield node.args[0].value


def violations(module: str, source: str) -> list[str]:
    """What a module (`hfbench.linalg.vector`, or `hfbench.solvers.cg` for a plugin) imports and must not."""
    package = module.rpartition(".")[0]
    return [name for name in imported(source, package) if _is_forbidden(name, module)]


def _is_forbidden(name: str, module: str) -> bool:
    top = name.partition(".")[0]
    if name.startswith(("..", NOWHERE)) or top in PLUGINS:
        return True
    if top in OWNERS:
        return not any(_is_owner(module, owner) for owner in OWNERS[top])
    return top == "hfbench" and module not in FACE and not _may_know(_folder(module), _folder(name), name)


def _is_owner(module: str, owner: str) -> bool:
    below = module.removeprefix("hfbench.")
    return below.endswith(owner[1:]) if owner.startswith("*") else f"{below}.".startswith(f"{owner}.")


def _folder(name: str) -> str:
    below = name.removeprefix("hfbench").lstrip(".").partition(".")[0]
    return below if below in (*ORDER, *PLUGINS) else ""


def _may_know(own: str, other: str, name: str) -> bool:
    if other == "":
        return own != "" or name.startswith(GROUND)
    if own in PLUGINS:
        return other == own or other in FOR_PLUGINS
    return own != "" and other in ORDER and ORDER.index(other) <= ORDER.index(own)


def modules() -> dict[str, Path]:
    core = [path for path in (ROOT / "hfbench").rglob("*.py") if path.relative_to(ROOT).parts[1] not in PLUGINS]
    files = [*core, *(path for plugin in PLUGINS for path in (ROOT / plugin).rglob("*.py"))]
    return {_module(path): path for path in files}


def _module(path: Path) -> str:
    parts = [part for part in path.relative_to(ROOT).with_suffix("").parts if part not in ("hfbench", "__init__")]
    return ".".join(("hfbench", *parts))


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_follow_the_order(module: str) -> None:
    assert violations(module, modules()[module].read_text(encoding="utf-8")) == []


def test_every_folder_has_its_place_in_the_order() -> None:
    folders = {path.parent.relative_to(ROOT).parts[1] for path in (ROOT / "hfbench").glob("*/__init__.py")}
    assert folders - set(PLUGINS) == set(ORDER)


def test_no_module_imports_itself_by_way_of_others() -> None:
    ring = circle(graph({name: path.read_text("utf-8") for name, path in modules().items()}))
    assert ring == []


def graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """The modules that each module imports, for type checkers and inside functions too; `hfbench` itself left out."""
    found: dict[str, set[str]] = {}
    for module, source in sources.items():
        package = module if any(name.startswith(f"{module}.") for name in sources) else module.rpartition(".")[0]
        names = set(imported(source, package))
        found[module] = {known for name in names if (known := _nearest(name, sources)) not in ("", "hfbench", module)}
    return found


def _nearest(name: str, known: Mapping[str, str]) -> str:
    """The module that an imported name is, or is in; "" for another package's."""
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Some modules that import each other in a ring; none where there is no ring."""
    left = {module: set(others) for module, others in graph.items()}
    while ends := {one for one in left if not left[one] & left.keys() or not any(one in left[other] for other in left)}:
        left = {module: others for module, others in left.items() if module not in ends}
    return sorted(left)


def test_a_planted_circle_is_found() -> None:
    ring = {
        "hfbench.a.x": "from hfbench.a.y import f",
        "hfbench.a.y": "if TYPE_CHECKING:\n    from hfbench.b import z",
        "hfbench.b": "",
        "hfbench.b.z": "def g():\n    import hfbench.a.x",
        "hfbench.c": "from hfbench.a import x",
    }
    assert circle(graph(ring)) == ["hfbench.a.x", "hfbench.a.y", "hfbench.b.z"]
    assert circle(graph(ring | {"hfbench.b.z": ""})) == []


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("hfbench.hessian_free.optimizer", "import hfbench.solvers.cg", "hfbench.solvers.cg"),
        ("hfbench.hessian_free.optimizer", "from hfbench.solvers.cg import CG", "hfbench.solvers.cg.CG"),
        ("hfbench.hessian_free.optimizer", "from hfbench import tasks", "hfbench.tasks"),
        ("hfbench.hessian_free.optimizer", "if TYPE_CHECKING:\n    import hfbench.tasks", "hfbench.tasks"),
        ("hfbench.hessian_free.optimizer", "importlib.import_module('hfbench.solvers')", "hfbench.solvers"),
        ("hfbench.hessian_free.optimizer", "from hfbench.runs import run", "hfbench.runs.run"),
        ("hfbench.linalg.vector", "def f():\n    from hfbench.parts import registry", "hfbench.parts.registry"),
        ("hfbench.linalg.vector", "from . import x\nfrom ..parts import registry", "..parts"),
        ("hfbench.messages", "from hfbench.linalg.vector import Vector", "hfbench.linalg.vector.Vector"),
        ("hfbench.runs.run", "import optuna", "optuna"),
        ("hfbench.tracking.params", "def f():\n    from mlflow.tracking import x", "mlflow.tracking.x"),
        ("hfbench.statistics.pairs", "import matplotlib.pyplot as plt", "matplotlib.pyplot"),
        ("hfbench.sweep.figures", "import seaborn as sns", "seaborn"),
        ("hfbench.execution.pool", "import distributed", "distributed"),
        ("hfbench.commands.run", "import typer", "typer"),
        ("hfbench.commands.run", "from rich.markup import escape", "rich.markup.escape"),
        ("hfbench.cli.main", "def f():\n    import hfbench.solvers", "hfbench.solvers"),
        ("hfbench.solvers.cg", "from hfbench.tasks import usps", "hfbench.tasks.usps"),
        ("hfbench.solvers.cg", "from hfbench.hessian_free.step import f", "hfbench.hessian_free.step.f"),
        ("hfbench.tasks.usps", "from hfbench.commands import run", "hfbench.commands.run"),
        ("hfbench.schedulers.fixed", "from ..solvers import cg", "..solvers"),
        ("hfbench.solvers.cg", "from .. import vector", ".."),
        ("hfbench.solvers.cg", "import solvers.bidiagonalisation", "solvers.bidiagonalisation"),
        ("hfbench.tasks.usps", "import matplotlib", "matplotlib"),
        ("hfbench.probe.judge", "from hfbench.solvers.stopping import Residual", "hfbench.solvers.stopping.Residual"),
    ],
)
def test_planted_faults_are_found(module: str, source: str, found: str) -> None:
    assert violations(module, source) == [found]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hfbench.cli.main", "def f():\n    from hfbench.commands.run import run_study"),
        ("hfbench.probe.pairwise", "from hfbench.statistics.pairs import pair\nfrom hfbench.probe.judge import Judge"),
        ("hfbench.tracking.mlflow_store", "def f():\n    import mlflow"),
        ("hfbench.hessian_free.optimizer", "from hfbench.linalg.vector import Vector\nimport torch"),
        ("hfbench.solvers.lsmr", "from .bidiagonalisation import x\nfrom hfbench.parts.protocols import System"),
        ("hfbench.solvers.lsmr", "import hfbench.solvers.bidiagonalisation"),
        ("hfbench.sweep.figures", "def f():\n    import matplotlib\nfrom hfbench.figures import style"),
        ("hfbench", "from hfbench.hessian_free.optimizer import HessianFree"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, source: str) -> None:
    assert violations(module, source) == []
