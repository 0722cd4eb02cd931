"""Homes of studies: the folder of every report, and the seeds that a study was extended to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.misplaced_files import MISPLACED, soon
from support.tiny_study import MISBEHAVING, tiny

from hfbench.config.load import load_study
from hfbench.errors import StoreError
from hfbench.records.files import write_json
from hfbench.records.study_home import ASKED, home_of, remember_asked, with_asked_seeds


@pytest.fixture
def file(tmp_path: Path) -> str:
    return tiny(tmp_path / "project", "study.seeds=5", extra=MISBEHAVING % ("third", "cg")).source


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "project" / "results"


def folder(results: Path, *arguments: object, **options: object) -> str:
    """Folder of a report, from the study's home."""
    home = home_of(load_study(*arguments, **options), results)  # type: ignore[arg-type]
    return home.folder.relative_to(results / "studies" / "tiny").as_posix()


def test_what_is_not_the_whole_study_has_a_folder_of_its_own(file: str, results: Path) -> None:
    assert folder(results, file) == folder(results, file, seeds="8") == folder(results, file, seeds="5") == "."
    assert folder(results, file, seeds="3") == folder(results, file, seeds="0-2") == "variants/seeds-3"
    assert folder(results, file, seeds="7-36") == "variants/seeds-7-36"
    assert folder(results, file, only=["third"]) == "variants/only-third"
    assert folder(results, file, seeds="3", only=["third"]) == "variants/seeds-3_only-third"


def test_folders_of_different_variants_differ(file: str, results: Path) -> None:
    sets = ("study.question=a-b", "study.question=a b", "study.question=a/b", f"study.question={'long' * 40}")
    folders = [folder(results, file, [assignment]) for assignment in sets]
    folders += [folder(results, file, seeds=seeds) for seeds in ("0,2", "0-2", "2")]
    assert len(set(folders)) == len(folders)
    assert all(len(name) < 90 for name in folders)


def test_more_seeds_are_remembered(file: str, results: Path) -> None:
    remember_asked(load_study(file, seeds="8"), results)
    later = with_asked_seeds(load_study(file), results)
    assert later.seeds == later.on["tiny-curves"].seeds == tuple(range(8))
    assert later.variant.remembered
    assert home_of(later, results).differences == ()
    assert with_asked_seeds(load_study(file, only=["third"]), results).seeds == tuple(range(8))
    assert with_asked_seeds(load_study(file, seeds="6"), results).seeds == tuple(range(6))
    assert folder(results, file, seeds="5") == "variants/seeds-5", "a part of what there is now"
    assert folder(results, file, seeds="10") == "."
    remember_asked(load_study(file, seeds="3"), results)
    remember_asked(load_study(file, seeds="10-20"), results)
    remember_asked(load_study(file), results)
    assert with_asked_seeds(load_study(file), results).seeds == tuple(range(8))


def test_seeds_that_are_set_are_remembered_too(file: str, results: Path) -> None:
    more = load_study(file, ["study.seeds=8"])
    assert home_of(more, results).differences == ()
    remember_asked(more, results)
    assert with_asked_seeds(load_study(file), results).seeds == tuple(range(8))
    fewer = with_asked_seeds(load_study(file, ["study.seeds=5"]), results)
    assert fewer.seeds == tuple(range(5)), "asked for, although the file has them"
    assert home_of(fewer, results).variant == "--seeds 5"


def test_seeds_are_forgotten_where_the_file_asks_for_others(file: str, results: Path, tmp_path: Path) -> None:
    remember_asked(load_study(file, seeds="8"), results)
    for seeds, expected in (("9", tuple(range(9))), ("[7, 8]", (7, 8)), ("6", tuple(range(8)))):
        edited = tiny(tmp_path / "project", f"study.seeds={seeds}")
        assert with_asked_seeds(edited, results).seeds == expected
    looks = tiny(tmp_path / "project", "study.seeds=6", "study.looks=[5, 6]")
    assert with_asked_seeds(looks, results).seeds == tuple(range(6)), "those beyond the last look would not be judged"


def test_another_file_of_the_same_name_is_a_variant(file: str, results: Path) -> None:
    remember_asked(load_study(file, seeds="8"), results)
    copy = str(Path(file).with_name("copy.toml"))
    shutil.copy(file, copy)
    other = load_study(copy)
    home = home_of(other, results)
    assert home.variant == "the file copy.toml"
    (nested := Path(file).with_name("nested")).mkdir()
    shutil.copy(file, nested / "copy.toml")
    namesake = home_of(load_study(str(nested / "copy.toml")), results)
    assert (namesake.variant, namesake.folder == home.folder) == (home.variant, False)
    assert home.folder.parent == results / "studies" / "tiny" / "variants"
    assert with_asked_seeds(other, results).seeds == tuple(range(5))
    remember_asked(load_study(copy, seeds="9"), results)
    assert with_asked_seeds(load_study(file), results).seeds == tuple(range(8))


def test_a_file_that_was_renamed_or_moved_keeps_its_home(file: str, results: Path, tmp_path: Path) -> None:
    remember_asked(load_study(file, seeds="8"), results)
    renamed = Path(file).rename(Path(file).with_name("renamed.toml"))
    assert home_of(load_study(str(renamed)), results).differences == ()
    assert with_asked_seeds(load_study(str(renamed)), results).seeds == tuple(range(8))
    remember_asked(load_study(str(renamed)), results)
    moved = (tmp_path / "project").rename(tmp_path / "elsewhere")
    study = load_study(str(moved / "renamed.toml"))
    assert home_of(study, moved / "results").differences == ()
    assert with_asked_seeds(study, moved / "results").seeds == tuple(range(8))
    assert str(tmp_path) not in (moved / "results" / "studies" / "tiny" / ASKED).read_text()


def test_records_from_an_archive_are_a_variant_where_the_study_was_run(file: str, results: Path) -> None:
    study = load_study(file)
    assert home_of(study, results, "tiny-12345678").differences == ()
    remember_asked(study, results)
    assert home_of(study, results, "tiny-12345678").variant == "the archive tiny-12345678"


def test_a_variant_speaks_for_a_study_that_was_never_judged_whole(file: str, results: Path) -> None:
    few = load_study(file, seeds="3")
    assert home_of(few, results).speaks_for_the_study
    home = home_of(few, results).home
    home.mkdir(parents=True)
    write_json(home / "comparisons.json", {"study": "tiny", "variant": "--seeds 3"})
    assert home_of(load_study(file, seeds="2"), results).speaks_for_the_study, "what lies there is a variant's too"
    write_json(home / "comparisons.json", {"study": "tiny"})
    assert not home_of(few, results).speaks_for_the_study
    assert home_of(load_study(file), results).speaks_for_the_study


@pytest.mark.parametrize("text", ["[]", "{}", '{"file": 3, "seeds": []}', '{"file": "x", "seeds": ["0"]}', "{", "3"])
def test_what_is_kept_is_checked(file: str, results: Path, text: str) -> None:
    remember_asked(load_study(file), results)
    kept = results / "studies" / "tiny" / ASKED
    assert json.loads(kept.read_text()) == {"file": "../../../tiny.toml", "seeds": []}
    kept.write_text(text)
    with pytest.raises(StoreError, match=r"asked\.json must .* Move it away to go on"):
        with_asked_seeds(load_study(file), results)


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_what_may_not_be_read_is_named_and_a_summary_counts_as_none(file: str, results: Path, kind: str) -> None:
    study = load_study(file)
    remember_asked(study, results)
    home = home_of(study, results).home
    MISPLACED[kind](home / "comparisons.json")
    assert not soon(lambda: home_of(study, results).is_judged)
    (home / ASKED).unlink()
    MISPLACED[kind](home / ASKED)
    with pytest.raises(StoreError, match="asked.json must be a readable file, but: .* Move it away to go on"):
        soon(lambda: with_asked_seeds(study, results))


def test_a_home_that_is_elsewhere_is_refused(file: str, results: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (results / "studies").mkdir(parents=True)
    (results / "studies" / "tiny").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    for use in (remember_asked, home_of, with_asked_seeds):
        with pytest.raises(StoreError, match="studies/tiny must lie in the results folder, but is a link out of it"):
            use(load_study(file), results)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("seeds", [[0, 0], [2**70], list(range(20_000))], ids=["twice", "large", "many"])
def test_seeds_that_no_command_keeps_are_refused(file: str, results: Path, seeds: list[int]) -> None:
    study = load_study(file)
    remember_asked(study, results)
    write_json(home_of(study, results).home / ASKED, {"file": "gone/" * 2000, "seeds": seeds})
    with pytest.raises(StoreError, match="must hold a file and seeds"):
        with_asked_seeds(study, results)


def test_the_name_of_a_file_that_no_system_has_is_that_of_no_file(file: str, results: Path) -> None:
    study = load_study(file)
    remember_asked(study, results)
    for name in ("x" * 5000, "a\0b", "gone/" * 2000):
        write_json(home_of(study, results).home / ASKED, {"file": name, "seeds": []})
        assert home_of(study, results).differences == ()
