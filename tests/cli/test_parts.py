"""`hfbench list` and `hfbench show` as they are typed."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.tiny_study import TEXT

import hfbench
from hfbench import registry
from hfbench.parts.hyperparameters import part

pytestmark = pytest.mark.usefixtures("shelf")


@part
class Pause:
    """Stop for a while."""

    needs: ClassVar[tuple[str, ...]] = ()

    def begin(self) -> None: ...


def test_the_help_of_list_names_every_family(hf: Any) -> None:
    words = hf("list", "--help")[1].replace(",", " ").replace(".", " ").split()
    assert {*registry.FAMILIES, "study"} <= set(words)


def test_list_takes_a_family_in_singular_or_plural(hf: Any) -> None:
    for family in ("task", "tasks"):
        status, out, _ = hf("list", family)
        assert (status, out.splitlines()[0]) == (0, f"task · hfbench {hfbench.__version__}")
        rows = [line for line in out.splitlines() if line.startswith("  ")]
        assert sorted(row.split()[0] for row in rows) == registry.names("task")
    assert hf("list", "studies")[1].startswith(f"study · hfbench {hfbench.__version__}\n  aa-calibration ")
    headings = [line for line in hf("list")[1].splitlines() if line and not line.startswith(" ")]
    assert list(dict.fromkeys(line.split(" · ")[0] for line in headings)) == [*registry.FAMILIES, "study"]


def test_show_finds_parts_and_studies(hf: Any) -> None:
    assert hf("show", "shelf")[1].startswith("task shelf\n")
    assert hf("show", "quickstart")[1].startswith("study quickstart\n")


def test_show_takes_the_file_of_a_study(hf: Any, tmp_path: Path) -> None:
    file = tmp_path / "tiny.toml"
    file.write_text(TEXT)
    status, out, _ = hf("show", str(file))
    assert (status, out.splitlines()[0]) == (0, "study tiny")
    assert str(file) in out
    status, _, err = hf("show", str(tmp_path / "none.toml"))
    assert status == 2
    assert "none.toml: the study file cannot be read" in err


def test_show_of_a_name_in_two_families_shows_both(hf: Any) -> None:
    with registry.temporary("rule", "shelf", Pause), registry.temporary("rule", "quickstart", Pause):
        both = hf("show", "shelf")[1]
        part_and_study = hf("show", "quickstart")[1]
    assert both.startswith("task shelf\n")
    assert "\n\nrule shelf\nStop for a while." in both
    assert part_and_study.startswith("rule quickstart\n")
    assert "\n\nstudy quickstart\n" in part_and_study
