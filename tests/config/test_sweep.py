from __future__ import annotations

from pathlib import Path

import pytest

from hfbench.config.load import load_study
from hfbench.config.study import Study, to_dict
from hfbench.config.sweep import Constraint
from hfbench.errors import ConfigError
from hfbench.parts.hyperparameters import Choice, Integers, Linear, Log

TEXT = """
[study]
name = "tuned"
tasks = ["curves-small", "curves"]
seeds = 10
baseline = "shf"

[methods.shf]
solver = "lsmr"
preconditioner = "chapelle-erhan"
scheduler = "dynamic"

[sweep]
method = "shf"
%s

[sweep.parameters]
%s
"""
THETA = "scheduler.theta = {}"


def study(folder: Path, sweep: str = "", parameters: str = THETA, *overrides: str) -> Study:
    file = folder / "tuned.toml"
    file.write_text(TEXT % (sweep, parameters))
    return load_study(str(file), overrides)


def test_what_is_not_given_is_filled_in(tmp_path: Path) -> None:
    (sweep,) = study(tmp_path).sweeps
    assert sweep.tasks == ("curves-small", "curves")
    assert sweep.objectives == ("work_to_target",)
    assert sweep.parameters == {"scheduler.theta": Linear(0.1, 1.5)}
    assert sweep.seeds == (1000, 1001, 1002, 1003, 1004)
    assert sweep.retest == (2000, 2001, 2002, 2003, 2004)
    assert (sweep.trials, sweep.ahead, sweep.candidates) == (40, 4, 5)
    assert (sweep.sampler, sweep.pruner) == ("gp", "wilcoxon")


def test_ranges_are_declared_narrowed_or_chosen(tmp_path: Path) -> None:
    written = """
    scheduler.start = {}
    scheduler.window = { low = 2 }
    scheduler.growth = { low = 1.2, high = 4, log = true }
    scheduler.correction = {}
    scheduler.order = {}
    rules.relative-progress.epsilon = { values = [5e-4, 1e-2] }
    "globalization.initial_damping" = { low = 1, high = 100, log = true }
    max_inner = { values = [50, 250] }
    """
    (sweep,) = study(tmp_path, "", written).sweeps
    found = {path: search for path, search in sweep.parameters.items() if not isinstance(search, Choice)}
    assert found == {
        "scheduler.start": Log(0.01, 0.5),
        "scheduler.window": Integers(2, 20),
        "scheduler.growth": Log(1.2, 4.0),
        "globalization.initial_damping": Log(1.0, 100.0),
    }
    chosen = {path: search.values for path, search in sweep.parameters.items() if isinstance(search, Choice)}
    assert chosen == {
        "scheduler.correction": (False, True),
        "scheduler.order": ("random", "cyclic"),
        "rules.relative-progress.epsilon": (5e-4, 1e-2),
        "max_inner": (50, 250),
    }
    assert sweep.sampler == "tpe"  # not all are numbers


def test_a_grid_has_as_many_trials_as_combinations(tmp_path: Path) -> None:
    written = "scheduler.theta = { values = [0.2, 0.5, 1.0] }\nscheduler.correction = {}"
    (sweep,) = study(tmp_path, 'sampler = "grid"', written).sweeps
    assert sweep.trials == 6


def test_objectives_and_a_constraint(tmp_path: Path) -> None:
    sweep = 'objective = ["final_validation_error", "distinct_to_target"]\n'
    sweep += 'constraint = { measure = "peak_memory", at_most = 1.1 }'
    (found,) = study(tmp_path, sweep, THETA, "study.stop_at_target=false").sweeps
    assert found.measures == ("final_validation_error", "distinct_to_target", "peak_memory")
    assert found.constraint == Constraint("peak_memory", 1.1)
    assert (found.sampler, found.pruner) == ("tpe", "none")


@pytest.mark.parametrize(("target_on", "other"), [("validation", "test"), ("test", "validation")])
def test_what_is_tuned_by_is_of_the_cases_that_targets_are_on(tmp_path: Path, target_on: str, other: str) -> None:
    more = ("study.stop_at_target=false", f"study.target_on={target_on}")
    (found,) = study(tmp_path, f'objective = "final_{target_on}_error"', THETA, *more).sweeps
    assert found.objectives == (f"final_{target_on}_error",)
    constraint = 'constraint = { measure = "%s", at_most = 1.1 }'
    for written in (
        f'objective = "final_{other}_error"', constraint % f"final_{other}_error", constraint % "test_error_at_target",
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^.*sweep: must tune by .* final_{target_on}_error, since"):
            study(tmp_path, written, THETA, *more)


def test_a_study_with_a_sweep_is_plain_data(tmp_path: Path) -> None:
    plain = to_dict(study(tmp_path, "", THETA + "\nscheduler.order = {}"))
    assert plain["sweeps"][0]["parameters"]["scheduler.order"] == ["random", "cyclic"]


@pytest.mark.parametrize(
    ("sweep", "parameters", "words"),
    [
        (
            "",
            "scheduler.thetta = {}",
            "sweep.parameters.scheduler.thetta: methods.shf.scheduler has no 'thetta' (did you",
        ),
        (
            "",
            "max_inner = {}",
            "sweep.parameters.max_inner: max_inner declares no range; give one, { low = …, high = … }",
        ),
        ("", "max_inner = { low = 10 }", "must have both low and high, since max_inner declares no range"),
        ("", "scheduler.theta = 0.5", "sweep.parameters.scheduler.theta: must be a range, {} for the declared one"),
        ("", "scheduler.theta = { low = 0.6 }", "must contain what shf has, 0.5, but it is 0.6 to 1.5"),
        ("", "scheduler.theta = { values = [0.6, 0.9] }", "must contain what shf has, 0.5, but it is 0.6, 0.9."),
        (
            "",
            "scheduler.theta = { values = [0.5] }",
            "sweep.parameters.scheduler.theta.values: a choice needs at least two values, but got (0.5,).",
        ),
        ("", "scheduler.theta = { low = -1, high = 2 }", "must lie in (0, 1000], but got -1"),
        ("", "scheduler.theta = { low = 2, high = 1 }", "`low < high` must hold"),
        ("", "scheduler.theta = { low = 0.2, values = [0.5, 1] }", "must have either values or a range"),
        ("", "", "sweep.parameters: must name at least one setting"),
        ("seeds = [3, 500]", THETA, "sweep.seeds: must have no seed in common with the seeds that are compared"),
        (
            "seeds = [50, 51]\nretest = [51, 52]",
            THETA,
            "must have no seed in common with sweep.retest, but both have 51",
        ),
        (
            'sampler = "gpp"',
            THETA,
            "sweep.sampler: must be one of 'auto', 'gp', 'tpe', 'random', 'grid', but got 'gpp' (did",
        ),
        ('sampler = "grid"', THETA, "a grid needs values = [...], but got a range, 0.1 to 1.5"),
        (
            'seeds = 3\npruner = "wilcoxon"',
            THETA,
            "sweep.pruner: it must have more than 3 seeds, but sweep.seeds has 3",
        ),
        ('objective = "work"', THETA, "sweep.objective: must be among work_to_target, products_to_target"),
        (
            'objective = "final_validation_error"',
            THETA,
            "sweep: final_validation_error says nothing if runs stop at the target; set study.stop_at_target",
        ),
        ('tasks = ["mnist"]', THETA, "sweep.tasks: must name a task of the study, but got 'mnist'"),
        ("trails = 3", THETA, "sweep.trails: unknown key (did you mean 'trials'?)"),
    ],
)
def test_what_is_wrong_is_said_with_its_key(tmp_path: Path, sweep: str, parameters: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        study(tmp_path, sweep, parameters)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "tuned.toml"))


def test_few_seeds_are_fine_without_a_pruner(tmp_path: Path) -> None:
    (sweep,) = study(tmp_path, "seeds = 3").sweeps
    assert sweep.pruner == "none"


# ---------------------------------------------------------------- several methods

SEVERAL = """
[study]
name = "several"
tasks = ["curves-small"]
seeds = 10
baseline = "adam"

[methods.adam]
optimizer = { use = "adam", lr = 1e-3 }
scheduler = "fixed"

[methods.muon]
optimizer = { use = "torch", class = "torch.optim.AdamW", settings = { lr = 1e-3, weight_decay = 1e-4, eps = 1 } }
scheduler = "fixed"

[methods.shf]
solver = "lsmr"
preconditioner = "chapelle-erhan"
scheduler = "dynamic"

[sweep]
methods = ["adam", "muon", "shf"]
"""


def several(folder: Path, text: str = SEVERAL, *overrides: str) -> Study:
    file = folder / "several.toml"
    file.write_text(text)
    return load_study(str(file), overrides)


def test_several_methods_have_the_same_extent_and_their_usual_ranges(tmp_path: Path) -> None:
    sweeps = several(tmp_path).sweeps
    assert {sweep.method: list(sweep.parameters) for sweep in sweeps} == {
        "adam": ["optimizer.lr", "optimizer.minibatch", "optimizer.schedule", "optimizer.span"],
        "muon": ["optimizer.settings.lr", "optimizer.minibatch", "optimizer.schedule", "optimizer.span"],
        "shf": ["globalization.initial_damping", "rules.relative-progress.epsilon"],
    }
    assert sweeps[1].parameters["optimizer.settings.lr"] == Log(1e-5, 1e-1)
    assert {(sweep.trials, sweep.seeds, sweep.retest) for sweep in sweeps} == {
        (40, (1000, 1001, 1002, 1003, 1004), (2000, 2001, 2002, 2003, 2004))
    }
    assert all(sweep.passes == {} for sweep in sweeps)


@pytest.mark.parametrize(
    ("given", "expected"), [("passes = 9e3", (10_000, 9e3)), ("passes = { curves-small = 9e3 }\ntrials = 7", (7, 9e3))]
)
def test_passes_in_place_of_trials_bound_every_method_alike(
    given: str, expected: tuple[int, float], tmp_path: Path
) -> None:
    found = {(sweep.trials, sweep.passes["curves-small"]) for sweep in several(tmp_path, SEVERAL + given).sweeps}
    assert found == {expected}


def test_ranges_are_given_by_method(tmp_path: Path) -> None:
    given = """
[sweep.parameters.adam]
optimizer.lr = { low = 1e-4, high = 1e-2 }
optimizer.precision = {}

[sweep.parameters.muon]
optimizer.settings.weight_decay = {}
optimizer.settings.eps = { values = [1, 2] }
"""
    adam, muon, shf = several(tmp_path, SEVERAL + given).sweeps
    assert adam.parameters["optimizer.lr"] == Log(1e-4, 1e-2)
    assert isinstance(adam.parameters["optimizer.precision"], Choice)
    assert muon.parameters["optimizer.settings.weight_decay"] == Log(1e-6, 1e-1)
    assert isinstance(muon.parameters["optimizer.settings.eps"], Choice)
    assert list(shf.parameters) == ["globalization.initial_damping", "rules.relative-progress.epsilon"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('methods = ["adam", "muon", "shf"]', "", "sweep.method: must be given, the method to tune, or else methods,"),
        ("[sweep]", '[sweep]\nmethod = "adam"', "or else methods, several; both are there."),
        ('"adam", "muon", "shf"', "", "sweep.methods: must not be empty."),
        ('"adam", "muon"', '"adam", "adam"', "sweep.methods: must not repeat a value, but 'adam' occurs 2 times."),
        ('"muon", "shf"]', '"moun"]', "sweep.methods: must name a method of the study, but got 'moun' (did you mean"),
        ("[sweep]", "[sweep.parameters.shff]\n[sweep]", "sweep.parameters: must name a tuned method of the study, but"),
        ("[sweep]", "[sweep.parameters]\nadam = 3\n[sweep]", "sweep.parameters.adam: must be a table, but got 3."),
        (
            "[sweep]", "[sweep.parameters.muon]\noptimizer.settings.betas = {}\n[sweep]",
            "sweep.parameters.muon.optimizer.settings.betas: methods.muon.optimizer.settings has no 'betas'",
        ),
        (
            "[sweep]", "[sweep.parameters.muon]\noptimizer.settings.eps = {}\n[sweep]",
            "sweep.parameters.muon.optimizer.settings.eps: must contain what muon has, 1, but it is 1e-10 to 0.0001",
        ),
        ('"chapelle-erhan"', '"chapelle-erhan"\nglobalization = { initial_damping = 0 }',
         "sweep.parameters.shf.globalization.initial_damping: must contain what shf has, 0.0, but it is 0.01 to"),
        ("[sweep]", '[sweep]\nobjective = "products_to_target"', "sweep.objective: adam, muon need no Gauss-Newton"),
        ("[sweep]", "[sweep]\npasses = 0", "sweep.passes: must lie in (0, 1e12], but got 0.0."),
        ("[sweep]", "[sweep]\npasses = {}", "sweep.passes: must be a number, or have one for each tuned task"),
        ("[sweep]", "[sweep]\npasses = { usps = 9 }", "sweep.passes.usps: must name a task of the study"),
        ("[sweep]", "[sweep]\npasses = { curves-small = 0 }", "sweep.passes.curves-small: must lie in (0, 1e12], but"),
    ],
)  # fmt: skip
def test_refused_of_several_methods(old: str, new: str, words: str, tmp_path: Path) -> None:
    assert old in SEVERAL
    with pytest.raises(ConfigError) as caught:
        several(tmp_path, SEVERAL.replace(old, new))
    assert words in str(caught.value)


def test_a_grid_has_as_many_points_for_each_method(tmp_path: Path) -> None:
    text = (
        SEVERAL.replace(', "shf"]', ']\nsampler = "grid"')
        + """
[sweep.parameters.adam]
optimizer.lr = { values = [1e-3, 1e-2] }

[sweep.parameters.muon]
optimizer.settings.lr = { values = [1e-3, 1e-2] }
"""
    )
    assert {sweep.trials for sweep in several(tmp_path, text).sweeps} == {2}
    with pytest.raises(ConfigError, match="as many points for each of the methods, but there are 2 of adam, 3 of muon"):
        several(tmp_path, text, "sweep.parameters.muon.optimizer.settings.lr={values = [1e-3, 1e-2, 1e-1]}")


def test_tasks_that_are_left_out_of_a_sweep_may_have_passes(tmp_path: Path) -> None:
    text = SEVERAL.replace('["curves-small"]', '["curves-small", "curves"]')
    passes = "passes = { curves-small = 9, curves = 7 }\n"
    found = several(tmp_path, text + passes, 'sweep.tasks=["curves-small"]').sweeps
    assert all(sweep.passes == {"curves-small": 9.0} for sweep in found)
