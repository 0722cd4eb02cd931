"""Hypotheses of the tiny study."""

from pathlib import Path

import numpy as np

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.statistics import claims
from support.result_tables import simulated
from support.tiny_study import TEXT

DECLARED = """
[hypotheses.%(name)s]
says = "it is so"
method = "shf"
measure = "%(measure)s"
expects = "%(expects)s"
"""


def study(tmp_path: Path, *declared: tuple[str, str, str], text: str = TEXT) -> Study:
    tables = [DECLARED % {"name": name, "measure": measure, "expects": expects} for name, measure, expects in declared]
    file = tmp_path / "study.toml"
    file.write_text(text + "".join(tables))
    return load_study(str(file))


def answered(tmp_path: Path, expects: str, ratio: float, sd: float = 0.05, n: int = 10) -> claims.Claim:
    results = simulated(ratio, sd, n, np.random.default_rng(1), method="shf", task="tiny-curves")
    (one,) = claims.answer(study(tmp_path, ("it", "work_to_target", expects)), results, {})
    return one
