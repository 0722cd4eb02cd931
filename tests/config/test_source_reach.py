"""What a class reaches in its modules: edits that must make its runs again, and edits that must not."""

from __future__ import annotations

import importlib
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hfbench import registry
from hfbench.config.source_hash import _part_source

MINE = '''
"""Two solvers in one file."""
from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Annotated

from hfbench import registry
from hfbench.parts import Integers, part

from . import tools, shelf
from .shapes import Base as Root
from .shapes import unused_by_mine

if TYPE_CHECKING:
    from hfbench.parts import System

STEP = 0.5
SIZES = tuple(range(1, 3))
OTHER_STEP = 0.25


def length(a: float) -> float:
    """A helper."""
    return scaled(a) * STEP


@cache
def scaled(a: float) -> float:
    return math.sqrt(a) * tools.FACTOR


def other_length(a: float) -> float:
    return unused_by_mine(a)


@part
class Mine(Root):
    """The part under test."""
    rate: Annotated[int, Integers(1, 5), "a rate"] = SIZES[0]

    def iterates(self, system: System, x0, preconditioner):  # as Other does
        """States."""
        other = "OTHER_STEP"
        yield length(self.rate), other


@part
class Other(Root):
    def iterates(self, system, x0, preconditioner):
        yield other_length(OTHER_STEP), shelf.BOOKS


registry.add("solver", "mine", Mine)
registry.add("solver", "other", Other)
if __name__ == "__main__":
    print(Mine())
'''
TOOLS = """
FACTOR = 2.0
UNUSED = 3.0
def idle():
    return UNUSED
"""
SHAPES = '''
class Base:
    """A base."""
    def shape(self):
        return corners
corners = [0, 0]
def unused_by_mine(a):
    return -a
'''
FILES = {"__init__": "'''A package.'''\nfrom .mine import Mine, Other", "mine": MINE, "tools": TOOLS, "shapes": SHAPES}
FILES["shelf"] = "BOOKS = 3\n"

Source = Callable[..., bytes]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    """The source of the class `Mine`, as hashed, of a package with changed or additional files."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    numbers = itertools.count()

    def forget() -> None:
        registry.forget()
        for name in [name for name in sys.modules if name.partition(".")[0] == "acme_reach"]:
            del sys.modules[name]

    def call(**files: str) -> bytes:
        forget()
        folder = tmp_path / str(next(numbers))
        (folder / "acme_reach").mkdir(parents=True)
        for name, text in (FILES | files).items():
            (folder / "acme_reach" / f"{name}.py").write_text(text)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(str(folder))
            return _part_source(importlib.import_module("acme_reach.mine").Mine)

    yield call
    forget()


def edited(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


@pytest.fixture(autouse=True)
def _unregistered(forgotten: None) -> None:
    """No part stays registered."""


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("mine", "Two solvers in one file.", "Two solvers."),
        ("mine", "    return scaled(a) * STEP", "    # a comment\n    return (scaled(a)\n            * STEP)"),
        ("mine", '"""The part under test."""', "# no docstring"),
        ("mine", '        """States."""\n', ""),
        ("mine", "yield other_length(OTHER_STEP)", "yield 2 * other_length(OTHER_STEP)"),
        ("mine", "return unused_by_mine(a)", "return a"),
        ("mine", "OTHER_STEP = 0.25", "OTHER_STEP = 0.3"),
        ("mine", "import Integers, part", "import Integers, Within, part"),
        ("mine", "from . import tools, shelf", "from . import shelf, tools"),
        ("mine", "\nSTEP = 0.5\n", "\nSTEP = 0.5\nNEW = 3\n"),
        ("mine", '"other", Other)', '"other-name", Other)'),
        ("mine", "    from hfbench.parts import System", "    from hfbench.parts import System, Vector"),
        ("mine", "    print(Mine())", "    print(Other())"),
        ("tools", "UNUSED = 3.0", "UNUSED = 4.0"),
        ("tools", "return UNUSED", "return -UNUSED"),
        ("shapes", '    """A base."""\n', ""),
        ("shapes", "return -a", "return a"),
        ("shelf", "BOOKS = 3", "BOOKS = 4"),
        ("__init__", "A package.", "The package."),
        ("__init__", "import Mine, Other", "import Mine"),
    ],
)
def test_an_edit_of_what_it_does_not_reach_changes_nothing(source: Source, file: str, old: str, new: str) -> None:
    assert source(**{file: edited(FILES[file], old, new)}) == source()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("mine", "yield length(self.rate)", "yield 2 * length(self.rate)"),
        ("mine", "return scaled(a) * STEP", "return scaled(a) + STEP"),
        ("mine", "math.sqrt(a)", "math.exp(a)"),
        ("mine", "\nSTEP = 0.5", "\nSTEP = 0.6"),
        ("mine", "tuple(range(1, 3))", "tuple(range(2, 3))"),
        ("mine", "@cache\n", ""),
        ("mine", "import math", "import cmath as math"),
        ("mine", "class Mine(Root)", "class Mine"),
        ("tools", "FACTOR = 2.0", "FACTOR = 3.0"),
        ("shapes", "return corners", "return len(corners)"),
        ("shapes", "corners = [0, 0]", "corners = [0, 1]"),
    ],
)
def test_an_edit_of_what_it_reaches_changes_it(source: Source, file: str, old: str, new: str) -> None:
    assert source(**{file: edited(FILES[file], old, new)}) != source()


# Lines that may change what other lines do; `{}` is edited from 1 to 2. Each stands at the end of a file.
EFFECTS = {
    "a call": "import torch\ntorch.manual_seed({})",
    "a call in an assignment": "import torch\nbefore = torch.manual_seed({})",
    "a call in a class": "import torch\nclass Third:\n    seed = torch.manual_seed({})",
    "a call in a default": "import torch\ndef third(a=torch.manual_seed({})): ...",
    "an own function": "def third(a): ...\nkept = third({})",
    "what an own function calls": "def third(a): return fourth(a)\ndef fourth(a): return {}\nkept = third(0)",
    "a decorator": "def marked(f): return f\n@marked\ndef third(): return {}",
    "a method's decorator": "def marked(f): return f\nclass Third:\n    @marked\n    def method(self): return {}",
    "an attribute": "import math\nmath.tau = {}",
    "an entry": "TABLE = dict(a=0)\nTABLE['a'] = {}",
    "a name again": "import math\nif math.pi > 3:\n    third = {}",
    "a loop": "for third in range({}): ...",
    "an attempt": "try:\n    import cmath\nexcept ImportError:\n    cmath = {}",
    "a change in place": "third = 0\nthird += {}",
    "a context": "import contextlib\nwith contextlib.suppress(ValueError):\n    third = {}",
    "a loop that registers": "for name, third in [('a{}', Other)]:\n    registry.add('solver', name, third)",
    "a class that is made": (
        "def made(n):\n    @part\n    class Third(Mine):\n        number = n\n"
        "    return Third\nregistry.add('solver', 'third', made({}))"
    ),
}


@pytest.mark.parametrize("effect", EFFECTS)
def test_what_may_have_effects_counts_wherever_it_stands(source: Source, effect: str) -> None:
    before, after = (f"{MINE}\n{EFFECTS[effect].format(number)}\n" for number in (1, 2))
    assert source(mine=before) != source(mine=after)


@pytest.mark.parametrize("file", ["tools", "shelf", "__init__"])
def test_effects_of_a_module_that_is_imported_count_whether_it_is_used_or_not(source: Source, file: str) -> None:
    before, after = (f"{FILES[file]}\nimport torch\ntorch.manual_seed({number})\n" for number in (1, 2))
    assert source(**{file: before}) != source(**{file: after})


# Ways to a name of another module: a line in place of STAND_IN in `Mine`, and what stands at the end of mine.py.
STAND_IN = 'other = "OTHER_STEP"'
WAYS = {
    "an import in a function": ("from .shelf import BOOKS as books; other = books", ""),
    "an import of the module in a function": ("from . import shelf as there; books = there.BOOKS", ""),
    "an absolute import": ("import acme_reach.shelf; books = acme_reach.shelf.BOOKS", ""),
    "an absolute import under another name": ("import acme_reach.shelf as there; books = there.BOOKS", ""),
    "a star": ("books = BOOKS", "from .shelf import *"),
    "getattr": ("books = getattr(shelf, 'BO' + 'OKS')", ""),
    "an alias of the module": ("books = alias.BOOKS", "alias = shelf"),
    "a module as an argument": ("books = third(shelf)", "def third(module): return module.BOOKS"),
    "globals": ("books = globals()['BO' + 'OKS']", "from .shelf import BOOKS"),
    "eval": ("books = eval('shelf.BO' + 'OKS')", ""),
    "sys.modules": ("import sys; books = sys.modules['acme_reach.shelf'].BOOKS", ""),
    "importlib": ("import importlib; books = importlib.import_module('.shelf', __package__)", "from . import shelf"),
    "a global that a function sets": ("books = kept", "def third():\n    global kept\n    kept = shelf.BOOKS"),
    "a condition": ("books = kept", "if shelf.BOOKS:\n    kept = shelf.BOOKS"),
    "a default": ("books = third()", "def third(a=shelf.BOOKS): return a"),
    "a lambda": ("books = third()", "third = lambda: shelf.BOOKS"),
    "a class attribute": ("books = Third.kept", "class Third:\n    kept = shelf.BOOKS"),
    "a name bound twice": ("books = kept()", "def kept(): return 0\ndef kept(): return shelf.BOOKS"),
    "subclasses": ("books = Root.__subclasses__()", "class Third(Root):\n    kept = shelf.BOOKS"),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_name_is_followed_or_all_counts(source: Source, way: str) -> None:
    line, end = WAYS[way]
    mine = f"{edited(MINE, STAND_IN, line)}\n{end}\n"
    assert source(mine=mine) != source(mine=mine, shelf="BOOKS = 4\n")


def test_one_file_that_looks_at_itself_makes_all_count_as_they_are(source: Source) -> None:
    tools = f"{TOOLS}\ndef looks(): return globals()\n"
    assert source(tools=tools) != source(tools=tools, mine=f"{MINE}# a comment\n")


def test_a_file_that_is_not_python_counts_as_it_is(source: Source, tmp_path: Path) -> None:
    whole = source()
    broken = tmp_path / "0" / "acme_reach" / "mine.py"
    mine = sys.modules["acme_reach.mine"].Mine
    _part_source.cache_clear()
    broken.write_text("def (")
    torn = _part_source(mine)
    assert torn != whole
    _part_source.cache_clear()
    broken.write_text("def ((")
    assert _part_source(mine) != torn


def test_a_class_that_no_statement_binds_counts_with_its_whole_module(source: Source) -> None:
    made = "Mine = type('Hidden', (), {})\nOTHER_STEP = 0.25\n"
    package = "from .mine import Mine"
    assert source(__init__=package, mine=made) != source(__init__=package, mine=f"{made}ANOTHER = 1\n")
