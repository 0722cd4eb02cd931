"""Advice on the number of seeds, before any run: held against what the comparisons say of the clearest runs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd
import pytest
from support.result_tables import runs
from support.tiny_study import FACTORIAL, TEXT, tiny

from hfbench.config.load import load_study
from hfbench.statistics.comparisons import compare
from hfbench.statistics.seed_advice import seed_advice

METHODS = "".join(
    f'\n[methods.{name}]\nsolver = "cg"\npreconditioner = "identity"\nscheduler = "fixed"\n' for name in ("one", "two")
)
CLAIMS = """
[hypotheses.less]
method = "shf"
measure = "work_to_target"
expects = "better"

[hypotheses.lean]
method = "shf"
measure = "peak_memory"
expects = "better"
"""


def test_too_few_seeds_are_told_with_how_many_it_takes(tmp_path: Path) -> None:
    assert seed_advice(tiny(tmp_path, "study.seeds=5", extra=METHODS)) == [
        "With 5 seeds no comparison can reach a verdict: 3 comparisons with 'hf' need at least 7 paired seeds."
    ]
    assert seed_advice(tiny(tmp_path, "study.seeds=6", extra=METHODS)) == [
        "With 6 seeds no comparison can show a difference: 3 comparisons with 'hf' need at least 7 paired seeds."
    ]
    assert seed_advice(tiny(tmp_path, "study.seeds=7", extra=METHODS)) == []
    assert seed_advice(tiny(tmp_path, "study.seeds=1")) == [
        "With 1 seed no comparison can reach a verdict: 1 comparison with 'hf' needs at least 6 paired seeds."
    ]


def test_every_family_has_its_own_sentence(tmp_path: Path) -> None:
    said = seed_advice(tiny(tmp_path, "study.seeds=6", extra=CLAIMS + FACTORIAL))
    assert said == [
        "With 6 seeds no comparison can show a difference: 7 comparisons with 'hf' need at least 9 paired seeds.",
        "With 6 seeds no claim can show a difference: 2 claims need at least 7 paired seeds.",
        "With 6 seeds no effect can show a difference: 6 effects need at least 8 paired seeds.",
    ]
    (claims,) = (line for line in seed_advice(tiny(tmp_path, extra=CLAIMS)) if "claim" in line)
    assert claims.startswith("With 2 seeds no claim can be answered: 2 claims need at least 7")


def test_with_looks_it_is_the_level_of_the_last_that_counts(tmp_path: Path) -> None:
    looks = ("study.seeds=8", "study.looks=[7, 8]")
    assert seed_advice(tiny(tmp_path, *looks)) == []  # the first look has 4.375 %: seven seeds are enough for one
    assert seed_advice(tiny(tmp_path, *looks, extra=METHODS)) == [
        "With 8 seeds no comparison can show a difference: "
        "3 comparisons with 'hf' need at least 10 paired seeds at the level of the last look, 0.625 %."
    ]


def test_seeds_below_the_first_look_have_no_verdict(tmp_path: Path) -> None:
    file = tmp_path / "looks.toml"
    file.write_text(TEXT.replace("seeds = 2", "seeds = 20\nlooks = [7, 20]"))
    assert seed_advice(load_study(str(file), seeds=5)) == [
        "With 5 seeds there is no verdict: the first look is declared at 7."
    ]
    assert seed_advice(load_study(str(file), seeds=7)) == []  # 1.75 % and one comparison


OTHER_TASK = """
[tasks.other]
use = "curves-small"
layers = [12, 4]

[on.other]
seeds = %d
"""


@pytest.mark.parametrize(("n", "others"), list(itertools.product((2, 5, 6, 7, 8), (2, 6, 7, 9, 20))))
def test_it_is_what_comparisons_say_of_the_clearest_runs(tmp_path: Path, n: int, others: int) -> None:
    study = tiny(
        tmp_path, f"study.seeds={n}", "study.tasks=['tiny-curves', 'other']",
        "study.targets={tiny-curves=60, other=60}", extra=METHODS + OTHER_TASK % others,
    )  # fmt: skip
    tables = [
        runs({method: dict.fromkeys(range(seeds), 100.0 - index) for index, method in enumerate(study.methods)}, task)
        for task, seeds in (("tiny-curves", n), ("other", others))
    ]
    found = compare(pd.concat(tables), "hf", tasks=["tiny-curves", "other"])
    hopeless = {c.task for c in found if c.p_holm is None}
    said = seed_advice(study)
    assert bool(said) == bool(hopeless)
    for task in ("tiny-curves", "other"):
        named = any(f" on {task} " in line or " no comparison can " in line for line in said)
        assert named == (task in hopeless)
