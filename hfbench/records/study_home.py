"""Home of a study in a results folder: the report of the study as its file has it, and a folder for each variant.

A study that was given more seeds than its file has keeps them: later commands without `--seeds` take them too. Reports
of fewer or other seeds, of a part of the methods, of other settings, of records from an archive and of another file of
the same name are variants. They lie in folders of their own, so that none replaces the report of the whole study;
until there is one, the home holds a copy of the last variant's.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from hfbench.config.study import Study
from hfbench.config.variant import seeds_text
from hfbench.errors import StoreError
from hfbench.records.files import check_folder, make_folder, read_json, safe_name, write_json

ASKED = "asked.json"
VARIANTS = "variants"
SHIPPED = "shipped"
SUMMARIES = ("comparisons.json", "sweep.json")  # of a report
OTHER_FILE = "the file "  # before its name
MOST_SEEDS = 10_000
LONGEST = 60  # letters of a folder's name, before a digest


@dataclass(frozen=True)
class StudyHome:
    """Folder of a study, and how the study at hand differs from the one whose report lies there."""

    home: Path
    file: str  # of the study at hand, from the home
    differences: tuple[str, ...]  # `--seeds 3`, `the file other.toml`; none for the whole study

    @property
    def folder(self) -> Path:
        """Folder of the report."""
        return self.home / VARIANTS / _folder_name(self.file, self.differences) if self.differences else self.home

    @property
    def variant(self) -> str:
        """The differences in words; empty for the whole study."""
        return ", ".join(self.differences)

    @property
    def is_judged(self) -> bool:
        """Whether the whole study, or its sweep, has a report: its summary, unlike a variant's, names no variant."""
        return any(_is_whole(self.home / name) for name in SUMMARIES)

    @property
    def speaks_for_the_study(self) -> bool:
        """Whether this is what the study came to: the whole study, or a variant of one that was never judged whole."""
        return not self.differences or not self.is_judged


@dataclass(frozen=True)
class _Asked:
    """What is kept of the study that a home belongs to: its file, from the home, and the seeds it was extended to."""

    file: str
    seeds: tuple[int, ...]  # empty: the file's


def home_of(study: Study, results: Path, archive: str = "") -> StudyHome:
    """The study's home; `archive` names where the records come from, if not from `results`."""
    home = _home(study, results)
    asked = _asked(home)
    return StudyHome(home, _file_from(home, study), tuple(_differences(study, home, asked, archive)))


def with_asked_seeds(study: Study, results: Path) -> Study:
    """The study on the seeds that an earlier command extended it to, unless `--seeds` gives others."""
    home = _home(study, results)
    asked = _asked(home)
    if asked is None or not asked.seeds or study.variant.seeds or _is_another(study, home, asked):
        return study
    extended = study.on_seeds(asked.seeds)
    if not extended.variant.extends_file or (study.looks and len(asked.seeds) > study.looks[-1]):
        return study  # the file has changed since
    return replace(extended, variant=replace(extended.variant, remembered=True))


def remember_asked(study: Study, results: Path) -> None:
    """Keeps whose home it is, and the seeds if they extend what is kept."""
    home = _home(study, results)
    asked = _asked(home)
    if asked is not None and _is_another(study, home, asked):
        return
    kept = asked.seeds if asked is not None else ()
    more = study.variant.extends_file and set(kept) <= set(study.variant.seeds)
    now = _Asked(_file_from(home, study), study.variant.seeds if more else kept)
    if now != asked:
        write_json(make_folder(home, results) / ASKED, {"file": now.file, "seeds": list(now.seeds)})


def _is_whole(summary: Path) -> bool:
    try:
        found = read_json(summary)
    except StoreError:  # torn: it is written anew
        return False
    return found is not None and not found.get("variant")


# ---------------------------------------------------------------- differences


def _differences(study: Study, home: Path, asked: _Asked | None, archive: str) -> Iterator[str]:
    variant = study.variant
    if asked is not None and _is_another(study, home, asked):
        yield f"{OTHER_FILE}{Path(study.source).name}"
    if asked is not None and archive:
        yield f"the archive {archive}"
    kept = asked.seeds if asked is not None else ()
    if variant.seeds and not (variant.covers_file and set(kept) <= set(variant.seeds)):
        yield f"--seeds {seeds_text(variant.seeds)}"
    if variant.only:
        yield f"--only {','.join(variant.only)}"
    for assignment in variant.sets:
        yield f"--set {assignment}"


def _folder_name(file: str, differences: tuple[str, ...]) -> str:
    """A name for a folder; a digest keeps those distinct that cannot be written as they are, and files of one name."""
    plain = "_".join(words.removeprefix("--").replace(" ", "-") for words in differences)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)[:LONGEST].strip("-.")
    is_another = differences[0].startswith(OTHER_FILE)
    if safe == plain and not is_another:
        return safe
    identity = [file if is_another else "", *differences]
    return f"{safe}-{hashlib.sha256(repr(identity).encode()).hexdigest()[:8]}"


# ---------------------------------------------------------------- the file that a home belongs to


def _home(study: Study, results: Path) -> Path:
    """The study's folder. Raises StoreError if it leads out of the results folder."""
    home = Path(results) / "studies" / safe_name(study.name)
    check_folder(home, results)
    return home


def _file_from(home: Path, study: Study) -> str:
    """The study's file, named from its home, so that both may be moved together."""
    if study.source == SHIPPED:
        return SHIPPED
    return Path(os.path.relpath(os.path.realpath(study.source), os.path.realpath(home))).as_posix()


def _is_another(study: Study, home: Path, asked: _Asked) -> bool:
    """Whether the home belongs to another file, which is still there: a file that is gone was moved or renamed."""
    if asked.file == _file_from(home, study):
        return False
    return asked.file == SHIPPED or os.path.isfile(os.path.join(os.path.realpath(home), asked.file))


def _asked(home: Path) -> _Asked | None:
    try:
        found = read_json(home / ASKED)
        if found is None:
            return None
        file, seeds = found.get("file"), found.get("seeds")
        if not isinstance(file, str) or not _are_seeds(seeds):
            raise StoreError(f"{home / ASKED} must hold a file and seeds, but does not.")
    except StoreError as error:
        raise StoreError(
            f"{error} Move it away to go on; that the study was given more seeds than its file has is then forgotten."
        ) from error
    return _Asked(file, tuple(seeds))


def _are_seeds(given: Any) -> TypeGuard[list[int]]:
    if not isinstance(given, list) or len(given) > MOST_SEEDS:
        return False
    return all(type(seed) is int and 0 <= seed < 2**63 for seed in given) and len({*given}) == len(given)
