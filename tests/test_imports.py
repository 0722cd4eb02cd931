"""Import direction: the core knows no plugin, plugins know the core and their siblings, studies know names only."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLUGINS = ("solvers", "schedulers", "tasks", "studies")
PLOTTING = {"matplotlib", "seaborn"}
COMMANDS = ("hfbench.cli", "hfbench.cli_probe")


def imports(source: str, package: str) -> Iterator[tuple[str, bool]]:
    """Every module or name imported, in full, and whether inside a function; `from ..` is given as it stands."""
    tree = ast.parse(source)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    nested = {inner for function in functions for inner in ast.walk(function)}
    for node in ast.walk(tree):
        for name in _imported(node, package):
            yield name, node in nested


def _imported(node: ast.AST, package: str) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        if node.level > 1:
            return ["." * node.level + (node.module or "")]
        base = ".".join(filter(None, (package if node.level else "", node.module)))
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
            return [node.args[0].value]
    return []


def violations(module: str, source: str) -> list[str]:
    """What a module (`hfbench.cg` for the core, `hfbench.solvers.cg` for a plugin) imports and must not."""
    package = module.rpartition(".")[0]
    folder = package.removeprefix("hfbench").lstrip(".").partition(".")[0]  # "" for the core
    return [name for name, nested in imports(source, package) if _is_forbidden(name, nested, module, folder)]


def _is_forbidden(name: str, nested: bool, module: str, folder: str) -> bool:
    top, _, rest = name.partition(".")
    below = rest.partition(".")[0]
    if name.startswith("..") or top in PLUGINS:
        return True
    if top == "mlflow":
        return module != "hfbench.tracking"
    if top == "optuna" or top in PLOTTING:
        return folder != "studies"
    if top == "hfbench" and below in PLUGINS and below != folder:
        # The command line is where everything is put together.
        return not (module in COMMANDS and below == "studies" and nested)
    return False


def modules() -> dict[str, Path]:
    core = {f"hfbench.{path.stem}": path for path in (ROOT / "hfbench").glob("*.py")}
    files = [path for plugin in PLUGINS for path in (ROOT / plugin).rglob("*.py")]
    return core | {".".join(("hfbench", *path.relative_to(ROOT).with_suffix("").parts)): path for path in files}


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_follow_the_direction(module: str) -> None:
    assert violations(module, modules()[module].read_text(encoding="utf-8")) == []


def test_all_folders_are_looked_at() -> None:
    packages = {module.rpartition(".")[0] for module in modules()}
    below = {"hfbench.studies.diagnosis", "hfbench.studies.probes"}
    assert packages == {"hfbench", *(f"hfbench.{plugin}" for plugin in PLUGINS), *below}


@pytest.mark.parametrize(
    ("module", "source", "found"),
    [
        ("hfbench.optimizer", "import hfbench.solvers.cg", "hfbench.solvers.cg"),
        ("hfbench.optimizer", "from hfbench.solvers.cg import CG", "hfbench.solvers.cg.CG"),
        ("hfbench.optimizer", "from hfbench import tasks", "hfbench.tasks"),
        ("hfbench.optimizer", "from . import schedulers", "hfbench.schedulers"),
        ("hfbench.optimizer", "from .studies import run", "hfbench.studies.run"),
        ("hfbench.optimizer", "def f():\n    from hfbench.studies import run", "hfbench.studies.run"),
        ("hfbench.optimizer", "if TYPE_CHECKING:\n    import hfbench.tasks", "hfbench.tasks"),
        ("hfbench.optimizer", "importlib.import_module('hfbench.solvers')", "hfbench.solvers"),
        ("hfbench.optimizer", "import optuna", "optuna"),
        ("hfbench.optimizer", "def f():\n    from mlflow.tracking import x", "mlflow.tracking.x"),
        ("hfbench.optimizer", "import matplotlib.pyplot as plt", "matplotlib.pyplot"),
        ("hfbench.optimizer", "import seaborn as sns", "seaborn"),
        ("hfbench.cli", "from hfbench.studies.run import run_study", "hfbench.studies.run.run_study"),
        ("hfbench.cli", "def f():\n    import hfbench.solvers", "hfbench.solvers"),
        ("hfbench.solvers.cg", "from hfbench.tasks import usps", "hfbench.tasks.usps"),
        ("hfbench.tasks.usps", "from hfbench.studies import run", "hfbench.studies.run"),
        ("hfbench.schedulers.fixed", "from ..solvers import cg", "..solvers"),
        ("hfbench.solvers.cg", "from .. import vector", ".."),
        ("hfbench.solvers.cg", "import solvers.bidiag", "solvers.bidiag"),
        ("hfbench.tasks.usps", "import matplotlib", "matplotlib"),
        ("hfbench.studies.run", "from hfbench.solvers import cg", "hfbench.solvers.cg"),
        ("hfbench.studies.run", "from tasks import usps", "tasks.usps"),
        ("hfbench.studies.run", "import mlflow", "mlflow"),
        ("hfbench.studies.probes.duel", "from hfbench.solvers import cg", "hfbench.solvers.cg"),
        ("hfbench.studies.probes.duel", "from ..words import digits", "..words"),
    ],
)
def test_planted_faults_are_found(module: str, source: str, found: str) -> None:
    assert violations(module, source) == [found]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hfbench.cli", "def f():\n    from hfbench.studies.run import run_study"),
        ("hfbench.cli_probe", "def f():\n    from hfbench.studies.probes import zoo"),
        ("hfbench.studies.probes.duel", "from hfbench.studies.words import digits\nfrom .judge import Judge"),
        ("hfbench.tracking", "def f():\n    import mlflow"),
        ("hfbench.optimizer", "from hfbench.vector import Vector\nimport torch"),
        ("hfbench.solvers.lsmr", "from .bidiag import golub_kahan\nfrom hfbench.protocols import System"),
        ("hfbench.solvers.lsmr", "import hfbench.solvers.bidiag"),
        ("hfbench.studies.figures", "def f():\n    import matplotlib\nfrom . import significance"),
    ],
)
def test_what_is_allowed_is_not_reported(module: str, source: str) -> None:
    assert violations(module, source) == []
