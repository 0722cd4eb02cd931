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
    sweep = study(tmp_path).sweep
    assert sweep is not None
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
    sweep = study(tmp_path, "", written).sweep
    assert sweep is not None
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
    sweep = study(tmp_path, 'sampler = "grid"', written).sweep
    assert sweep is not None
    assert sweep.trials == 6


def test_objectives_and_a_constraint(tmp_path: Path) -> None:
    sweep = 'objective = ["final_test_error", "distinct_to_target"]\n'
    sweep += 'constraint = { measure = "peak_memory", at_most = 1.1 }'
    found = study(tmp_path, sweep, THETA, "study.stop_at_target=false").sweep
    assert found is not None
    assert found.measures == ("final_test_error", "distinct_to_target", "peak_memory")
    assert found.constraint == Constraint("peak_memory", 1.1)
    assert (found.sampler, found.pruner) == ("tpe", "none")


def test_a_study_with_a_sweep_is_plain_data(tmp_path: Path) -> None:
    plain = to_dict(study(tmp_path, "", THETA + "\nscheduler.order = {}"))
    assert plain["sweep"]["parameters"]["scheduler.order"] == ["random", "cyclic"]


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
            'objective = "final_test_error"',
            THETA,
            "says nothing if runs stop at the target; set study.stop_at_target",
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
    sweep = study(tmp_path, "seeds = 3").sweep
    assert sweep is not None
    assert sweep.pruner == "none"
