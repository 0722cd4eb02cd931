"""Parts by name, through entry points of distributions that the tests write to disk."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from hfbench import registry
from hfbench.errors import ConfigError, DuplicatePartError, HfbenchError, UnknownPartError
from hfbench.messages import quoted
from hfbench.parts.hyperparameters import Within, part
from hfbench.schedulers.fixed import Fixed
from hfbench.solvers.cg import CG
from hfbench.solvers.optimizers.adam import Adam
from hfbench.solvers.preconditioners.identity import Identity
from hfbench.solvers.stopping import FixedWork
from hfbench.tasks.curves import CurvesSmall

Install = Callable[..., Path]


@part
class Sleepy:
    """A rule that never stops."""

    needs: ClassVar[tuple[str, ...]] = ()
    patience: Annotated[int, Within("[1, inf)"), "how long"] = 2

    def begin(self) -> object:
        return lambda state: None


@part
class Other:
    """Another rule."""

    needs: ClassVar[tuple[str, ...]] = ()

    def begin(self) -> object:
        return lambda state: None


PLUGIN = """
from hfbench.parts.hyperparameters import part

@part
class Third:
    '''A third party's rule.'''
    needs = ()
    def begin(self):
        return lambda state: None
"""


def test_built_in_names_are_listed_without_importing_them() -> None:
    program = (
        "import json, sys; from hfbench import registry\n"
        "names = {family: registry.names(family) for family in registry.FAMILIES}\n"
        "heavy = {'torch', 'hfbench.solvers', 'hfbench.tasks', 'hfbench.solvers.stopping'}\n"
        "print(json.dumps([names, registry.origin('solver', 'cg'), sorted(heavy & set(sys.modules))]))"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    names, origin, loaded = json.loads(said)
    assert names["solver"] == sorted(names["solver"])
    assert {"cg", "lsmr", "lsqr"} <= set(names["solver"])
    assert {"identity", "martens", "chapelle-erhan"} <= set(names["preconditioner"])
    assert {"fixed", "dynamic"} <= set(names["scheduler"])
    assert "curves-small" in names["task"]
    assert origin.startswith("hfbench ")
    assert loaded == []


def test_third_party_part_is_found_and_imported_only_by_get(install: Install) -> None:
    install("acme", "[hfbench.rules]\nthird = acme_rules:Third\n", acme_rules=PLUGIN)
    assert "third" in registry.names("rule")
    assert registry.origin("rule", "third") == "acme 1.5"
    assert "acme_rules" not in sys.modules
    assert registry.get("rule", "third").__name__ == "Third"


def test_a_plugin_that_fails_to_import_breaks_no_other(install: Install) -> None:
    entry_points = "[hfbench.rules]\nbad = acme_bad:Bad\nthird = acme_rules:Third\n"
    install("acme", entry_points, acme_rules=PLUGIN, acme_bad="1 / 0")
    assert {"bad", "third"} <= set(registry.names("rule"))
    message = r"rule 'bad' of acme 1\.5 cannot be imported from acme_bad:Bad: ZeroDivisionError: division by zero"
    with pytest.raises(HfbenchError, match=message) as e:
        registry.get("rule", "bad")
    assert isinstance(e.value.__cause__, ZeroDivisionError)
    assert re.search(r"\(\S+acme_bad\.py:1\)\.$", str(e.value))
    assert registry.build("rule", "third") is not None


def test_an_entry_point_that_is_no_part_of_its_family_is_refused(install: Install) -> None:
    install("acme", "[hfbench.solvers]\nthird = acme_rules:Third\n", acme_rules=PLUGIN)
    method = r"`iterates\(system, x0, preconditioner\)`"
    where = r"hfbench/parts/protocols\.py"
    message = rf"solver 'third' must have {method}, but .*acme_rules\.py lacks {method} in Third; {where}"
    with pytest.raises(HfbenchError, match=message):
        registry.get("solver", "third")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import acme_gone", r"ModuleNotFoundError: No module named 'acme_gone' \(\S+acme_bad\.py:1\)"),
        ("\nx = (", r"SyntaxError: '\(' was never closed \(\S+acme_bad\.py:2\)"),
        ("def f():\n    raise ValueError('two\\nlines')\nf()", r"ValueError: two lines \(\S+acme_bad\.py:2\)"),
        ("raise SystemExit(3)", r"SystemExit: 3 \(\S+acme_bad\.py:1\)"),
        ("class Worse: ...", r"AttributeError: module 'acme_bad' has no attribute 'Bad'"),
        (
            "from hfbench.parts.hyperparameters import Within\nWithin('one')",
            r"ConfigError: an interval .* \(\S+acme_bad\.py:2\)",
        ),
    ],
)
def test_why_a_plugin_cannot_be_imported_is_one_line_with_the_place(install: Install, source: str, reason: str) -> None:
    install("acme", "[hfbench.rules]\nbad = acme_bad:Bad\n", acme_bad=source)
    with pytest.raises(
        HfbenchError, match=rf"^rule 'bad' of acme 1\.5 cannot be imported from acme_bad:Bad: {reason}\.$"
    ):
        registry.get("rule", "bad")


@pytest.mark.parametrize("value", ["acme_rules", "acme rules:Third", "acme_rules:Third:more"])
def test_an_entry_point_names_a_module_and_a_class(install: Install, value: str) -> None:
    install("acme", f"[hfbench.rules]\nthird = {value}\n", acme_rules=PLUGIN)
    for ask in (registry.get, registry.one_line):
        with pytest.raises(
            HfbenchError, match=rf"rule 'third' of acme 1\.5 must be .* `module:Class`, but got '{value}'"
        ):
            ask("rule", "third")


def test_a_name_that_cannot_be_a_column_is_refused_however_it_comes(install: Install) -> None:
    install("acme", "[hfbench.rules]\nmy rule = acme_rules:Third\n", acme_rules=PLUGIN)
    for ask in (registry.get, registry.one_line):
        with pytest.raises(ConfigError, match="a name must be 1 to 64 letters, digits, - or _, but got 'my rule'"):
            ask("rule", "my rule")
    for name in ("my rule", "", "a/b", "../up", "-dash", "x" * 65):
        with pytest.raises(ConfigError, match="a name must be 1 to 64 letters"):
            registry.add("rule", name, Sleepy)


def test_two_distributions_with_one_name_are_both_named(install: Install) -> None:
    install("acme", "[hfbench.rules]\nthird = acme_rules:Third\n", acme_rules=PLUGIN)
    install("zeta", "[hfbench.rules]\nthird = zeta_rules:Third\nfourth = zeta_rules:Third\n", zeta_rules=PLUGIN)
    for ask in (registry.get, registry.origin):
        with pytest.raises(DuplicatePartError, match=r"zeta 1\.5 .* and acme 1\.5 "):
            ask("rule", "third")
    assert registry.get("rule", "fourth").__module__ == "zeta_rules"


def test_unknown_names_get_the_nearest_or_the_cure_and_the_list() -> None:
    with registry.temporary("rule", "sleepy", Sleepy):
        message = r"no rule 'slepy' \(did you mean 'sleepy'\?\); known: .*sleepy\.$"
        with pytest.raises(UnknownPartError, match=message):
            registry.get("rule", "slepy")
        message = r"no rule 'xyz'; known: .*sleepy\. One just declared in a pyproject\.toml needs `pip install -e \.`"
        with pytest.raises(UnknownPartError, match=message):
            registry.get("rule", "xyz")
    with pytest.raises(UnknownPartError, match=r"no family 'rules' \(did you mean 'rule'\?\); known: solver, "):
        registry.names("rules")


def test_temporary_parts_go_again() -> None:
    with registry.temporary("rule", "sleepy", Sleepy):
        assert registry.get("rule", "sleepy") is Sleepy
        assert registry.origin("rule", "sleepy") == __file__
    assert "sleepy" not in registry.names("rule")


def test_adding_a_taken_name_names_both_owners() -> None:
    with registry.temporary("rule", "sleepy", Sleepy):
        with pytest.raises(DuplicatePartError, match="'sleepy': .*test_registry.* and .*test_registry"):
            registry.add("rule", "sleepy", Other)
        registry.add("rule", "sleepy", Sleepy)  # a notebook cell run twice
    with pytest.raises(DuplicatePartError, match=r"'residual': hfbench .* and .*test_registry"):
        registry.add("rule", "residual", Sleepy)


@pytest.mark.parametrize("thing", [Sleepy(), object, "Sleepy"])
def test_only_parts_can_be_added(thing: object) -> None:
    with pytest.raises(HfbenchError, match="must be a class decorated with @part"):
        registry.add("rule", "thing", thing)  # type: ignore[arg-type]
    assert "thing" not in registry.names("rule")


def test_build_accepts_a_name_a_table_and_a_built_part() -> None:
    with registry.temporary("rule", "sleepy", Sleepy):
        assert registry.build("rule", "sleepy") == Sleepy()
        spec = {"use": "sleepy", "patience": 5}
        assert registry.build("rule", spec) == Sleepy(patience=5)
        assert spec == {"use": "sleepy", "patience": 5}
        built = Sleepy(patience=7)
        assert registry.build("rule", built) is built


@pytest.mark.parametrize("spec", [3, {"patience": 1}, {"use": 3}, Sleepy, None])
def test_build_refuses_what_names_no_part(spec: object) -> None:
    with pytest.raises(ConfigError, match=r"^methods\.hf\.rules: must be the name of a rule, a table"):
        registry.build("rule", spec, "methods.hf.rules")


@pytest.mark.parametrize(
    ("family", "given", "other"),
    [
        ("rule", Fixed(), "scheduler"),
        ("optimizer", Fixed(), "scheduler"),
        ("scheduler", FixedWork(products=3.0), "rule"),
        ("optimizer", FixedWork(products=3.0), "rule"),
        ("rule", Adam(), "optimizer"),
        ("scheduler", Adam(), "optimizer"),
        ("solver", Identity(), "preconditioner"),
        ("preconditioner", CG(), "solver"),
        ("solver", CurvesSmall(), "task"),
    ],
)
def test_a_built_part_of_another_family_is_refused_by_name(family: str, given: Any, other: str) -> None:
    assert registry.build(other, given) is given
    shown = re.escape(quoted(given))
    message = rf"^methods\.hf: must be .* or a built {family}, but got {shown}, which is a {other}; known: "
    with pytest.raises(ConfigError, match=message):
        registry.build(family, given, "methods.hf")


def test_build_prefixes_messages_by_the_key_path() -> None:
    with registry.temporary("rule", "sleepy", Sleepy):
        with pytest.raises(ConfigError, match=r"^r\.patience: must lie in \[1, inf\), but got 0"):
            registry.build("rule", {"use": "sleepy", "patience": 0}, "r")
        with pytest.raises(UnknownPartError, match=r"^r: no rule 'sleepi'"):
            registry.build("rule", "sleepi", "r")


def test_the_class_of_an_entry_point_may_be_added_under_its_name() -> None:
    from hfbench.solvers.stopping import Residual

    registry.add("rule", "residual", Residual)
    assert ("rule", "residual") not in registry.added()
    with pytest.raises(DuplicatePartError, match="two parts claim the rule name 'fixed-work'"):
        registry.add("rule", "fixed-work", Residual)
