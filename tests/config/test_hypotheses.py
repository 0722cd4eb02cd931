"""Hypotheses of a study file: what is refused, and which go with the methods they are about."""

from pathlib import Path

import pytest
from support.declared import study
from support.tiny_study import TEXT

from hfbench.config.load import load_study
from hfbench.errors import ConfigError


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('method = "shf"', "hypotheses.it.measure: must be given"),
        ('method = "sfh"\nmeasure = "peak_memory"', "it.method: must name a method of the study, but got 'sfh'"),
        ('method = "shf"\nagainst = "shf"\nmeasure = "peak_memory"', "hypotheses.it.against: must differ from"),
        ('method = "shf"\nmeasure = "memory"', "hypotheses.it.measure: must be one of 'work_to_target'"),
        ('method = "shf"\nmeasure = "peak_memory"\nexpects = "best"', "hypotheses.it.expects: must be one of 'better'"),
        ('method = "adam"\nmeasure = "products_to_target"', "adam needs no Gauss-Newton products"),
    ],
)  # fmt: skip
def test_a_wrong_hypothesis_is_one_message(tmp_path: Path, table: str, message: str) -> None:
    adam = '\n[methods.adam]\noptimizer = "adam"\nscheduler = "fixed"\n'
    file = tmp_path / "study.toml"
    file.write_text(f"{TEXT}{adam}[hypotheses.it]\n{table}\n")
    with pytest.raises(ConfigError) as error:
        load_study(str(file))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_claim_on_the_test_error_at_the_target_needs_a_target_on_validation(tmp_path: Path) -> None:
    file = study(tmp_path, ("it", "test_error_at_target", "better"))
    assert [one.measure for one in file.hypotheses] == ["test_error_at_target"]
    with pytest.raises(ConfigError, match=r"hypotheses\.it\.measure: must not be test_error_at_target where study"):
        load_study(str(tmp_path / "study.toml"), overrides=["study.target_on=test"])


def test_a_hypothesis_goes_with_its_methods(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    study(tmp_path, ("it", "peak_memory", "better"))
    third = '\n[methods.other]\nsolver = "lsqr"\npreconditioner = "identity"\nscheduler = "fixed"\n'
    file.write_text(file.read_text() + third)
    assert [one.name for one in load_study(str(file), only=["shf"]).hypotheses] == ["it"]
    assert load_study(str(file), only=["other"]).hypotheses == ()
