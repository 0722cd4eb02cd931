"""Variants: what the options of the command line make of a study, and what they leave as it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.tiny_study import MISBEHAVING, tiny

from hfbench.config.load import load_study
from hfbench.config.study import Study
from hfbench.config.variant import StudyVariant, seeds_remark, seeds_text


@pytest.fixture
def file(tmp_path: Path) -> str:
    return tiny(tmp_path, "study.seeds=5", extra=MISBEHAVING % ("third", "cg")).source


def test_a_study_as_its_file_has_it_is_no_variant(file: str) -> None:
    assert load_study(file).variant == StudyVariant()
    same = load_study(file, ["study.margin=1.1", "methods.hf.solver=cg"], only=["shf", "third"])
    assert same.variant == StudyVariant(sets=("study.margin=1.1",))  # the file leaves it to its default


def test_what_options_change_is_known(file: str) -> None:
    study = load_study(file, ["study.budget.iterations=3", "study.seeds=5"], seeds="3", only=["third"])
    assert study.variant == StudyVariant(
        seeds=(0, 1, 2), file_seeds=((0, 1, 2, 3, 4),), only=("third",), sets=("study.budget.iterations=3",)
    )
    assert load_study(file, only=["hf"]).variant.only == ("hf",)


@pytest.mark.parametrize("seeds", ["3", "5", "8", "[1, 7]"])
def test_seeds_of_every_task_may_be_set_either_way(file: str, seeds: str) -> None:
    typed, overridden = load_study(file, seeds=seeds.strip("[]")), load_study(file, [f" study.seeds = {seeds}"])
    assert (overridden.variant, overridden.seeds, overridden.on) == (typed.variant, typed.seeds, typed.on)
    both = load_study(file, [f"study.seeds={seeds}"], seeds="6")
    assert both.variant == load_study(file, seeds="6").variant


def test_an_override_leaves_the_seeds_of_a_task_to_it(tmp_path: Path) -> None:
    of_a_task = tiny(tmp_path / "own", extra="[on.tiny-curves]\nseeds = 3\n").source
    for file, sets in ((of_a_task, ()), (tiny(tmp_path).source, ("on.tiny-curves.seeds=3",))):
        study = load_study(file, ["study.seeds=8", *sets])
        assert study.variant == StudyVariant(sets=("study.seeds=8", *sets))
        assert study.on["tiny-curves"].seeds == (0, 1, 2)


def test_seeds_that_the_file_has_not_are_an_override_like_any_other(tmp_path: Path) -> None:
    file = Path(tiny(tmp_path).source)
    file.write_text(file.read_text().replace("seeds = 2", 'seeds = "many"'))
    assert load_study(str(file), ["study.seeds=3"]).variant == StudyVariant(sets=("study.seeds=3",))


@pytest.mark.parametrize(
    ("seeds", "covers", "extends"),
    [("3", False, False), ("5", True, False), ("8", True, True), ("3-9", False, False), ("0-4,9", True, True)],
)
def test_seeds_cover_or_extend_those_of_the_file(file: str, seeds: str, covers: bool, extends: bool) -> None:
    variant = load_study(file, seeds=seeds).variant
    assert (variant.covers_file, variant.extends_file) == (covers, extends)


def test_a_look_at_the_first_seeds_leaves_the_variant(file: str) -> None:
    study: Study = load_study(file, seeds="8")
    assert study.first_seeds(3).variant == study.variant


def test_seeds_are_written_as_they_are_typed(file: str) -> None:
    assert [seeds_text(seeds) for seeds in ((0, 1, 2), (3, 5, 8), (7, 8, 9), (0, 1, 7))] == [
        "3",
        "3,5,8",
        "7-9",
        "0-1,7",
    ]
    assert seeds_remark(load_study(file, seeds="8").variant) == "0-7, by --seeds; the file has 0-4"
