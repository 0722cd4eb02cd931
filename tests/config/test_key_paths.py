from __future__ import annotations

import pytest

from hfbench.config.key_paths import declared_at, value_at, with_values
from hfbench.config.methods import Method, resolve
from hfbench.errors import ConfigError
from hfbench.parts.hyperparameters import Linear, Log

TABLE = {
    "solver": "lsmr",
    "preconditioner": "chapelle-erhan",
    "scheduler": {"use": "dynamic", "theta": 0.7},
    "rules": ["relative-progress", {"use": "residual", "rtol": 0.1}],
}


@pytest.fixture
def method() -> Method:
    return resolve("shf", TABLE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("scheduler.theta", 0.7),
        ("rules.residual.rtol", 0.1),
        ("rules.relative-progress.k_min", 10),
        ("globalization.line_search", True),
        ("layout", "structured"),
    ],
)
def test_a_path_goes_through_parts_lists_of_parts_and_plain_settings(method: Method, path: str, value: object) -> None:
    assert value_at(method, path) == value
    assert declared_at(method, path).name == path.rpartition(".")[2]


def test_other_values_make_another_method_and_leave_the_first_as_it_was(method: Method) -> None:
    changed = with_values(method, {"scheduler.theta": 1.2, "rules.residual.rtol": 0.3, "max_inner": 9}, "tuned")
    expected = {
        **TABLE,
        "scheduler": {"use": "dynamic", "theta": 1.2},
        "rules": ["relative-progress", {"use": "residual", "rtol": 0.3}],
        "max_inner": 9,
    }
    assert changed == resolve("tuned", expected)
    assert method == resolve("shf", TABLE)


def test_the_declaration_is_the_parts_own(method: Method) -> None:
    assert declared_at(method, "scheduler.theta").search == Linear(0.1, 1.5)


def test_an_entry_of_a_parts_table_has_the_type_of_its_value_and_the_range_that_the_part_suggests() -> None:
    settings = {"lr": 1e-3, "betas": [0.9, 0.99], "amsgrad": False}
    optimizer = {"use": "torch", "class": "torch.optim.AdamW", "settings": settings}
    tuned = resolve("own", {"optimizer": optimizer, "scheduler": "fixed"})
    found = {name: declared_at(tuned, f"optimizer.settings.{name}") for name in settings}
    assert {name: entry.type for name, entry in found.items()} == {"lr": float, "betas": list, "amsgrad": bool}
    assert {name: entry.search for name, entry in found.items()} == {
        "lr": Log(1e-5, 0.1),
        "betas": None,
        "amsgrad": None,
    }
    again = with_values(tuned, {"optimizer.settings.lr": 0.02}, "own")
    assert value_at(again, "optimizer.settings") == {**settings, "lr": 0.02}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("scheduler.thetta", "methods.shf.scheduler has no 'thetta' (did you mean 'theta'?); it has"),
        ("rules.residuel.rtol", "methods.shf.rules has no 'residuel' (did you mean 'residual'?)"),
        ("solver.use.x", "methods.shf.solver.use has no 'x'."),
        ("scheduler.theta.more", "methods.shf.scheduler.theta has no 'more'."),
        ("name", "methods.shf has no 'name'"),
    ],
)
def test_a_path_that_goes_astray_says_what_there_is(method: Method, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        value_at(method, path)
    assert words in str(caught.value)


@pytest.mark.parametrize("path", ["scheduler.use", "rules.residual.use"])
def test_a_parts_name_is_no_hyper_parameter(method: Method, path: str) -> None:
    with pytest.raises(ConfigError, match="no hyper-parameter of a part"):
        declared_at(method, path)
