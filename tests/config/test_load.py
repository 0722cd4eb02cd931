"""Study files: every default resolved, every mistake one message with file, key path and nearest name."""

import json
import os
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfbench import registry
from hfbench.config.load import load_study, shipped_studies
from hfbench.config.study import to_dict
from hfbench.errors import ConfigError, HfbenchError, UnknownPartError
from hfbench.parts.data_files import DataFile
from hfbench.parts.hyperparameters import Within, part


@part
class ToySolver:
    """A solver."""

    reach: Annotated[int, Within("[1, 9]"), "how far"] = 4

    def iterates(self, system: Any, x0: Any, preconditioner: Any) -> Iterator[Any]:
        return iter(())


@part
class ToyPreconditioner:
    """A preconditioner."""

    cases: ClassVar[str] = "gradient"

    def build(self, linearisation: Any, shift: Any, generator: Any) -> None: ...


@part
class ToyScheduler:
    """A scheduler."""

    needs: ClassVar[tuple[str, ...]] = ()
    gradient: Annotated[float, Within("(0, 1]"), "fraction"] = 1.0

    def begin(self, total: int) -> None: ...


@part
class ToyTask:
    """A task."""

    loss: ClassVar[str] = "logistic"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 5.0}
    decay: ClassVar[float] = 0.0
    decay_mask: ClassVar[str] = "none"
    target: Annotated[float, Within("(0, inf)"), "goal"] = 2.5
    layers: Annotated[list[int], "units"] | None = None

    def load(self, generator: Any, data: str | None = None) -> None: ...
    def model(self, generator: Any) -> None: ...
    def error(self, outputs: Any, targets: Any) -> None: ...


@part
class ToyRule:
    """A rule."""

    needs: ClassVar[tuple[str, ...]] = ()
    patience: Annotated[int, Within("[1, inf)"), "how long"] = 2

    def begin(self) -> None: ...


@pytest.fixture(autouse=True, scope="module")
def _toys() -> Iterator[None]:
    toys = {
        "solver": ToySolver,
        "preconditioner": ToyPreconditioner,
        "scheduler": ToyScheduler,
        "task": ToyTask,
        "rule": ToyRule,
    }
    with ExitStack() as stack:
        for family, cls in toys.items():
            stack.enter_context(registry.temporary(family, "toy", cls))
        yield


TEXT = """
[study]
name = "mine"
tasks = ["toy", "toy-hard"]
seeds = 3
budget = { passes = 40, seconds = 1.5 }
baseline = "hf"
targets = { toy-hard = 1 }

[tasks.toy-hard]
use = "toy"
target = 9

[methods.hf]
solver = "toy"
preconditioner = "toy"
scheduler = "toy"
rules = ["toy", { use = "toy", patience = 5 }]

[methods.new]
solver = { use = "toy", reach = 2 }
preconditioner = "toy"
scheduler = { use = "toy", gradient = 1 }
rules = []
globalization = { warm_start = 0 }
right_hand_side = "damping"
max_inner = 9
chunk = 100
"""

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A study file of this text; its path."""

    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return str(path)

    return write


def test_everything_is_resolved(write: Write) -> None:
    path = write(TEXT)
    study = load_study(path)
    assert (study.name, study.question, study.source) == ("mine", "", path)
    assert study.tasks == {
        "toy": {"use": "toy", "target": 2.5, "layers": None},
        "toy-hard": {"use": "toy", "target": 9.0, "layers": None},
    }
    assert study.targets == {"toy": 2.5, "toy-hard": 1.0}
    assert study.seeds == (0, 1, 2)
    assert study.budget == {"passes": 40.0, "seconds": 1.5}
    assert (study.primary, study.margin, study.alpha, study.precision) == ("work_to_target", 1.1, 0.05, "float32")
    assert (study.baseline, study.stop_at_target) == ("hf", True)
    hf, new = study.methods["hf"], study.methods["new"]
    assert (hf.name, hf.solver, hf.scheduler) == ("hf", {"use": "toy", "reach": 4}, {"use": "toy", "gradient": 1.0})
    assert hf.rules == ({"use": "toy", "patience": 2}, {"use": "toy", "patience": 5})
    assert (hf.right_hand_side, hf.max_inner, hf.chunk) == ("auto", 250, None)
    assert (new.solver, new.rules) == ({"use": "toy", "reach": 2}, ())
    assert (new.right_hand_side, new.max_inner, new.chunk) == ("damping", 9, 100)
    assert (hf.globalization["warm_start"], new.globalization["warm_start"]) == (0.95, 0.0)
    assert hf.globalization.keys() == new.globalization.keys()


def test_whole_numbers_resolve_as_the_decimal_ones(write: Write) -> None:
    ones = [load_study(write(TEXT.replace("gradient = 1", f"gradient = {one}"))) for one in ("1", "1.0")]
    assert json.dumps(to_dict(ones[0])) == json.dumps(to_dict(ones[1]))


def test_default_rule_is_relative_progress(write: Write) -> None:
    (rule,) = load_study(write(TEXT.replace('rules = ["toy", { use = "toy", patience = 5 }]', ""))).methods["hf"].rules
    assert (rule["use"], rule["epsilon"]) == ("relative-progress", 5e-4)


def test_to_dict_survives_json(write: Write) -> None:
    plain = to_dict(load_study(write(TEXT)))
    assert json.loads(json.dumps(plain)) == plain
    assert plain["methods"]["new"]["solver"] == {"use": "toy", "reach": 2}


# Each row: what to replace in TEXT, by what, and what the message must say after the file's name.
MISTAKES = [
    ("[study]", "[studdy]", r"studdy: unknown key \(did you mean 'study'\?\); known: study, tasks, methods, ablation"),
    ("[study]", "[ablations]\n[study]", r"ablations: unknown key.*; known: study, tasks, methods, ablation"),
    ("[study]", "margin = 1.2\n[study]", r"margin: unknown key \(did you mean study\.margin\?\); known: study"),
    ("[study]", "[study", r"must be TOML in UTF-8: .*\(at line 2, column 7\)"),
    ("seeds = 3", "seeds = 3\nseeds = 4", r"must be TOML in UTF-8: Cannot overwrite a value \(at line \d+"),
    ('name = "mine"', "", r"study\.name: must be given"),
    ('name = "mine"', 'name = "../mine"', r"study\.name: a name must be .*, but got '\.\./mine'"),
    ("seeds = 3", "sedes = 3", r"study\.sedes: unknown key \(did you mean 'seeds'\?\)"),
    ("seeds = 3", "seeds = []", r"study\.seeds: must not be empty"),
    ("seeds = 3", "seeds = 0", r"study\.seeds: must lie in \[1, 10000\], but got 0"),
    ("seeds = 3", "seeds = true", r"study\.seeds: must be a whole number or a list, but got True"),
    ("seeds = 3", "seeds = [1, 2, 1]", r"study\.seeds: must not repeat a value, but 1 occurs 2 times"),
    ("seeds = 3", "seeds = [1, -2]", r"study\.seeds\[1\]: must lie in \[0, inf\), but got -2"),
    ("seeds = 3", 'seeds = [1, "two"]', r"study\.seeds\[1\]: must be a whole number, but got 'two'"),
    ('"toy-hard"]', '"toy-heard"]', r"study\.tasks: no task 'toy-heard' .*; known: .*toy"),
    ('"toy-hard"]', '"toy"]', r"study\.tasks: must not repeat a value, but 'toy' occurs 2 times"),
    ('"toy-hard"]', "{ use = 1 }]", r"study\.tasks: must be a list of names, but got \{'use': 1\} in it"),
    ('["toy", "toy-hard"]', "[]", r"study\.tasks: must not be empty"),
    ('["toy", "toy-hard"]', '"toy"', r"study\.tasks: must be a list, but got 'toy'"),
    ("passes = 40", "pases = 40", r"study\.budget\.pases: unknown key \(did you mean 'passes'\?\); known: passes, sec"),
    ("passes = 40", "passes = 0", r"study\.budget\.passes: must lie in \(0, 1e9\], but got 0"),
    ("passes = 40", "passes = inf", r"study\.budget\.passes: must lie in \(0, 1e9\], but got inf"),
    (
        "passes = 40",
        'passes = "40"',
        r"study\.budget\.passes: must be a number or nothing, but got '40': write it without quotes\.$",
    ),
    ('baseline = "hf"', 'baseline = "fh"', r"study\.baseline: must name a method .*\(did you mean 'hf'\?\)"),
    ('baseline = "hf"', 'baseline = "hf"\nprimary = "work"', r"study\.primary: must be one of 'work_to_target'"),
    (
        'baseline = "hf"',
        'baseline = "hf"\ntarget_on = "training"',
        r"study\.target_on: must be one of 'validation', 'test', but got 'training'",
    ),
    (
        'baseline = "hf"',
        'baseline = "hf"\nevaluate_every = 0',
        r"study\.evaluate_every: must lie in \[1, 1e9\], but got",
    ),
    ('baseline = "hf"', 'baseline = "hf"\nmargin = 1.0', r"study\.margin: must lie in \(1, 10\], but got 1\.0"),
    ('baseline = "hf"', 'baseline = "hf"\nalpha = 1', r"study\.alpha: must lie in \(0, 0\.5\], but got 1\.0"),
    ('baseline = "hf"', 'baseline = "hf"\nprecision = "float16"', r"study\.precision: must be one of 'float32'"),
    ("targets = { toy-hard", "targets = { toyhard", r"study\.targets\.toyhard: must name a task .*'toy-hard'"),
    ("targets = { toy-hard = 1", "targets = { toy-hard = 0", r"study\.targets\.toy-hard: must lie in \(0, inf\)"),
    ("target = 9", "goal = 9", r"tasks\.toy-hard\.goal: unknown key; known: target, layers"),
    ("[tasks.toy-hard]", "[tasks.toy-hrad]", r"study\.tasks: no task 'toy-hard'"),
    ("reach = 2", "reach = 10", r"methods\.new\.solver\.reach: must lie in \[1, 9\], but got 10"),
    ("reach = 2", "raech = 2", r"methods\.new\.solver\.raech: unknown key \(did you mean 'reach'\?\); known: reach"),
    ('{ use = "toy", reach = 2 }', "{ reach = 2 }", r"methods\.new\.solver: must be the name of a solver, a table"),
    ('{ use = "toy", reach = 2 }', '"toi"', r"methods\.new\.solver: no solver 'toi' \(did you mean 'toy'\?\); known: "),
    ('{ use = "toy", reach = 2 }', "7", r"methods\.new\.solver: must be a string or a table or nothing, but got 7"),
    ("patience = 5", "patience = 0", r"methods\.hf\.rules\[1\]\.patience: must lie in \[1, inf\), but got 0"),
    ("warm_start", "warmstart", r"methods\.new\.globalization\.warmstart: unknown key \(did you mean 'warm_start'"),
    ("max_inner = 9", "max_iner = 9", r"methods\.new\.max_iner: unknown key \(did you mean 'max_inner'\?\)"),
    ("chunk = 100", "chunk = 0", r"methods\.new\.chunk: must lie in \[1, inf\), but got 0"),
    ('"damping"', '"dampening"', r"methods\.new\.right_hand_side: must be one of 'auto', .* \(did you mean 'damping'"),
    ("[methods.new]", '[methods."a/b"]', r"methods\.a/b: a name must be 1 to 64 letters"),
    ("[methods.new]", "[[methods.new]]", r"methods\.new: must be a table, but got \["),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_a_mistake_is_one_message(write: Write, old: str, new: str, message: str) -> None:
    assert old in TEXT
    path = write(TEXT.replace(old, new, 1))
    with pytest.raises((ConfigError, UnknownPartError), match=rf"^{path}: {message}") as caught:
        load_study(path)
    assert "\n" not in str(caught.value)


def test_no_methods(write: Write) -> None:
    with pytest.raises(ConfigError, match=r"mine\.toml: methods: there must be at least one"):
        load_study(write(TEXT.partition("[methods")[0]))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.toml: the study file cannot be read: No such file"):
        load_study(str(tmp_path / "gone.toml"))
    (tmp_path / "latin.toml").write_bytes(b"[study]\nname = '\xe9'")
    with pytest.raises(ConfigError, match=r"latin\.toml: must be TOML in UTF-8"):
        load_study(str(tmp_path / "latin.toml"))
    (tmp_path / "deep.toml").write_text("a = " + "[" * 10_000)
    with pytest.raises(ConfigError, match=r"deep\.toml: must be TOML in UTF-8"):
        load_study(str(tmp_path / "deep.toml"))
    (tmp_path / "digits.toml").write_text("a = " + "9" * 5000)
    with pytest.raises(ConfigError, match=r"digits\.toml: must be TOML in UTF-8: Exceeds the limit"):
        load_study(str(tmp_path / "digits.toml"))
    with open(tmp_path / "large.toml", "wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(ConfigError, match=r"large\.toml: .* cannot be read: it has 95\.4 MiB, more than the 4 MiB"):
        load_study(str(tmp_path / "large.toml"))
    with pytest.raises(UnknownPartError, match=r"no study 'quikstart' \(did you mean 'quickstart'\?\); shipped: "):
        load_study("quikstart")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_pipes_and_devices_are_no_study_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    os.symlink("/dev/zero", tmp_path / "zero.toml")
    for name in ("pipe.toml", "zero.toml"):
        with pytest.raises(ConfigError, match="cannot be read: it is a pipe, a socket or a device"):
            load_study(str(tmp_path / name))


@pytest.mark.parametrize(
    ("option", "seeds"),
    [
        (2, (0, 1)),
        ("2", (0, 1)),
        ("3,5,8", (3, 5, 8)),
        ("10-13", (10, 11, 12, 13)),
        ("1, 4-5", (1, 4, 5)),
        ("6-6", (6,)),
    ],
)
def test_seeds_option(write: Write, option: int | str, seeds: tuple[int, ...]) -> None:
    assert load_study(write(TEXT), seeds=option).seeds == seeds


@pytest.mark.parametrize("option", ["", "x", "3,", "5-3", "1-99999999", "3,3", "2-4,3", "-1", "0", 0, "1.5", "9" * 30])
def test_bad_seeds_option(write: Write, option: int | str) -> None:
    with pytest.raises(ConfigError, match=r"^--seeds: must"):
        load_study(write(TEXT), seeds=option)


@settings(max_examples=25, deadline=None)
@given(option=st.text("0123456789,- x", max_size=6))
def test_any_seeds_option_gives_distinct_seeds_or_a_config_error(option: str) -> None:
    try:
        seeds = load_study("quickstart", seeds=option).seeds
    except HfbenchError as error:
        assert "--seeds: must" in str(error)  # noqa: PT017
    else:
        assert len(seeds) == len(set(seeds)) > 0
        assert min(seeds) >= 0


def test_only_keeps_the_methods_named_and_the_baseline(write: Write) -> None:
    path = write(TEXT + TEXT[TEXT.index("[methods.new]") :].replace("methods.new", "methods.third"))
    assert list(load_study(path).methods) == ["hf", "new", "third"]
    assert list(load_study(path, only=["third"]).methods) == ["hf", "third"]
    with pytest.raises(ConfigError, match=r"--only: must name a method .*'nwe' \(did you mean 'new'\?\)"):
        load_study(path, only=["nwe"])


def test_overrides_are_toml_or_bare_words(write: Write) -> None:
    assignments = [
        "study.seeds=[4, 6]",
        "study.budget.passes=7",
        'study.question = Why, and "how"?',
        "methods.hf.solver.reach=9",  # the file gives the solver by its name alone
        "methods.new.solver=toy",
        "methods.new.globalization={line_search=false}",
    ]
    study = load_study(write(TEXT), overrides=assignments)
    assert study.seeds == (4, 6)
    assert study.budget == {"passes": 7.0, "seconds": 1.5}
    assert study.question == 'Why, and "how"?'
    assert study.methods["hf"].solver == {"use": "toy", "reach": 9}
    assert study.methods["new"].solver == {"use": "toy", "reach": 4}
    assert study.methods["new"].globalization["line_search"] is False
    assert study.methods["new"].globalization["warm_start"] == 0.95


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("study.seeds", r"--set: must be key\.path=value, such as methods\.hf\.solver=lsmr, but got 'study\.seeds'"),
        ("study..seeds=3", r"--set: must be key\.path=value"),
        ("study.sedes=3", r"study\.sedes \(from --set\): unknown key \(did you mean 'seeds'\?\)"),
        (" study.sedes = 3", r"study\.sedes \(from --set\): unknown key \(did you mean 'seeds'\?\)"),
        ("studdy.seeds=3", r"studdy \(from --set\): unknown key \(did you mean 'study'\?\)"),
        ("methods.hff.solver=toy", r"methods\.hff\.solver \(from --set\): must name a method .*'hff' \(did you"),
        ("methods.hf.solver=toi", r"methods\.hf\.solver \(from --set\): no solver 'toi' \(did you mean 'toy'\?\)"),
        ("methods.hf.solver.raech=1", r"methods\.hf\.solver\.raech \(from --set\): unknown key \(did you mean 'reach'"),
        ("methods.hf.solver={raech=1, use='toy'}", r"methods\.hf\.solver\.raech \(from --set\): unknown key"),
        ("methods.hf.rules=['toi']", r"methods\.hf\.rules\[0\] \(from --set\): no rule 'toi'"),
        ("methods.hf.chunk=many", r"methods\.hf\.chunk \(from --set\): must be a whole number or nothing, but got"),
        ("study.seeds.count=3", r"study\.seeds\.count \(from --set\): study\.seeds must be a table, but is 3"),
        ("study.seeds=3\nx=4", r"study\.seeds \(from --set\): must be a whole number or a list"),
    ],
)
def test_bad_overrides(write: Write, assignment: str, message: str) -> None:
    """Only the override at fault is named, and the file is not: it is not in there."""
    with pytest.raises(HfbenchError, match=rf"^{message}") as caught:
        load_study(write(TEXT), overrides=["study.margin=1.3", assignment])
    assert "margin" not in str(caught.value).partition("known:")[0]
    assert "mine.toml" not in str(caught.value)


def test_a_mistake_of_the_file_is_not_blamed_on_overrides(write: Write) -> None:
    path = write(TEXT.replace("patience = 5", "patience = 0"))
    with pytest.raises(ConfigError, match=rf"^{path}: methods\.hf\.rules\[1\]\.patience: must lie in"):
        load_study(path, overrides=["methods.hf.solver=toy", "study.margin=1.3"])


def test_another_use_that_does_not_take_the_files_settings_is_named(write: Write) -> None:
    path = write(TEXT)
    message = rf"^{path} with --set methods\.new\.scheduler\.use: methods\.new\.scheduler\.gradient: unknown key"
    with pytest.raises(ConfigError, match=message):
        load_study(path, overrides=["study.margin=1.3", "methods.new.scheduler.use=dynamic"])


def test_shipped_studies_load_under_their_file_names() -> None:
    studies = shipped_studies()
    assert {"quickstart", "usps-first"} <= set(studies)
    for name, question in studies.items():
        study = load_study(name)
        assert (study.name, study.question, study.source) == (name, question, "shipped")
        assert question.endswith("?")
        assert len(study.seeds) >= 7


def test_quickstart_compares_the_two_ends() -> None:
    study = load_study("quickstart")
    assert list(study.tasks) == ["curves-small"]
    uses = {m.name: (m.solver["use"], m.preconditioner["use"], m.scheduler["use"]) for m in study.methods.values()}
    assert uses == {"hf": ("cg", "martens", "fixed"), "shf-lsmr": ("lsmr", "chapelle-erhan", "dynamic")}
    assert study.baseline == "hf"
