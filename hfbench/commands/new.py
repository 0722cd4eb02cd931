"""`hfbench new`: a small package with a part that works, its contract test, and a study that compares it.

The files are the templates beside this module, filled in. As generated, the tests pass and the study runs.
"""

from __future__ import annotations

import ast
import importlib.util
import keyword
import os
import re
import shlex
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template

from hfbench.errors import ConfigError, DuplicatePartError
from hfbench.execution.screen import typed_path
from hfbench.messages import did_you_mean, quoted
from hfbench.parts import registry
from hfbench.parts.families import LONGEST_NAME

HF = ('solver = "cg"', 'preconditioner = "martens"', 'scheduler = { use = "fixed", gradient = 1.0, curvature = 0.25 }')


@dataclass(frozen=True)
class Frame:
    """Texts and settings that fill in the templates of one family."""

    example: str  # what the part does as generated
    question: str
    baseline: str  # name of the method it is compared with
    replaces: str | None  # the line of that method that it stands in for; None for a task
    task: str = "curves-small"
    passes: int = 1500


FRAMES = {
    "solver": Frame("steepest descent", "Does $name reach the target with less work than CG?", "cg", "solver"),
    "preconditioner": Frame(
        "a diagonal of the gradients' root mean squares",
        "Does $name save work against Martens' preconditioner?",
        "martens",
        "preconditioner",
    ),
    "scheduler": Frame(
        "a batch that doubles every few steps",
        "Does $name save work against all cases in every step?",
        "full",
        "scheduler",
    ),
    "task": Frame(
        "a teacher network to imitate",
        "Does LSMR with a growing batch reach the target with less work than Martens' method?",
        "hf",
        None,
        task="$name",
        passes=1000,
    ),
}


def write_package(family: str, name: str, into: Path = Path()) -> str:
    """Writes the package `into`/`name` and returns the next steps as text.

    Raises ConfigError for a family without template, for a name that cannot name a part and a module, and if the folder
    exists; DuplicatePartError if the name is taken. The package is written whole or not at all.
    """
    family = family.removesuffix("s")
    if family not in FRAMES:
        raise ConfigError(
            f"FAMILY: must be one of {', '.join(FRAMES)}, but got {quoted(family)}{did_you_mean(family, FRAMES)}."
        )
    module = _module(name)
    if name in registry.names(family):
        raise DuplicatePartError(
            f"NAME: there is a {family} {quoted(name)} already, of {registry.origin(family, name)}; choose another "
            "name."
        )
    folder = into / name
    if not into.is_dir():
        raise ConfigError(f"--into: must name a folder that exists, but got {into}.")
    if folder.exists():
        raise ConfigError(f"NAME: {folder} exists already; choose another name, or another folder by --into.")
    _move_into_place(_files(family, name, module), folder)
    return _next_steps(family, name, module, folder)


def _module(name: str) -> str:
    """Module name for a part name: `my_solver` for `my-solver`."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        better = "-".join(re.findall(r"[a-z]+[0-9]*|[0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()))
        hint = f", such as {better}" if re.match(r"[a-z]", better) else ", such as my-solver"
        raise ConfigError(f"NAME: must be small letters, digits and -, a letter first{hint}, but got {quoted(name)}.")
    if len(name) > LONGEST_NAME:
        raise ConfigError(f"NAME: must have at most {LONGEST_NAME} characters, but has {len(name)}.")
    module = name.replace("-", "_")
    if keyword.iskeyword(module) or keyword.issoftkeyword(module):
        raise ConfigError(f"NAME: must not be a keyword of Python, but got {quoted(name)}.")
    if module == "conftest" or module in sys.stdlib_module_names or importlib.util.find_spec(module) is not None:
        raise ConfigError(
            f"NAME: there is a module {module} already, which {quoted(name)} would hide; choose another name."
        )
    return module


def _files(family: str, name: str, module: str) -> dict[str, str]:
    """The text of every file of the package."""
    frame, words = FRAMES[family], {"family": family, "Family": family.capitalize(), "name": name, "module": module}
    words["Class"] = _class(family, module)
    steps = {"install": "python -m pip install -e .", "check": f"hfbench check {name}", "run": "hfbench run study.toml"}
    words |= {step: command.ljust(max(map(len, steps.values()))) for step, command in steps.items()}
    method = "shf-lsmr" if family == "task" else name
    words |= {
        "example": frame.example,
        "question": Template(frame.question).substitute(words),
        "task": Template(frame.task).substitute(words),
        "passes": str(frame.passes),
        "baseline": frame.baseline,
        "method": method if method != frame.baseline else f"{method}-new",
        "theirs": "\n".join(HF),
        "mine": "\n".join(_mine(frame, name)),
    }
    return {
        "pyproject.toml": _filled("pyproject.toml", words),
        "README.md": _filled("README.md", words),
        # In src/: Python run beside a folder takes it for a package of its name, which would hide a module inside it.
        f"src/{module}.py": _filled(f"{family}.py", words),
        f"test_{module}.py": _filled("test.py", words),
        "study.toml": _filled("study.toml", words),
    }


def _class(family: str, module: str) -> str:
    """Class name: `MySolver` for `my_solver`; the family is appended if the template already uses that name."""
    name = "".join(word.capitalize() for word in module.split("_"))
    tree = ast.parse(_template(f"{family}.py").replace("$Class", "_"))
    used = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    used |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    return f"{name}{family.capitalize()}" if name in used else name


def _mine(frame: Frame, name: str) -> list[str]:
    """The method's lines in the study file, with the new part; for a new task, those of the quickstart's method."""
    if frame.replaces is None:
        return ['solver = "lsmr"', 'preconditioner = "chapelle-erhan"', 'scheduler = { use = "dynamic", start = 0.05 }']
    return [f'{frame.replaces} = "{name}"' if line.startswith(frame.replaces) else line for line in HF]


def _filled(template: str, words: dict[str, str]) -> str:
    return Template(_template(template)).substitute(words)


def _template(name: str) -> str:
    return (resources.files("hfbench.commands") / "templates" / f"{name}.tmpl").read_text("utf-8")


def _move_into_place(files: dict[str, str], folder: Path) -> None:
    """Moves the whole folder, or nothing. Raises ConfigError if it cannot be written."""
    made = None
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for name, text in files.items():
            (made / name).parent.mkdir(exist_ok=True)
            (made / name).write_text(text, "utf-8")
        made.chmod(0o755)  # temporary folders are for their owner alone
        os.rename(made, folder)
    except BaseException as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        if isinstance(error, OSError):
            raise ConfigError(f"--into: {folder.parent} cannot be written to: {error.strerror}.") from error
        raise


def _next_steps(family: str, name: str, module: str, folder: Path) -> str:
    files = {
        f"src/{module}.py": "the part, to be replaced by yours",
        f"test_{module}.py": "its contract, for pytest",
        "study.toml": "a comparison with built-in parts",
    }
    width = max(map(len, files))
    return "\n".join(
        [
            f"{folder}/ holds a {family} that works as generated ({FRAMES[family].example}):",
            *(f"  {file:<{width}}  {what}" for file, what in files.items()),
            "Next:",
            f"  {typed_path(sys.executable)} -m pip install -e {shlex.quote(str(folder))}",
            f"  hfbench check {name}",
            f"  hfbench run {shlex.quote(str(folder / 'study.toml'))}",
        ]
    )
