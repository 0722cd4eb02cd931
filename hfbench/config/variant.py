"""StudyVariant of a study: how the options of the command line make it another than its file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hfbench.messages import ranges


@dataclass(frozen=True)
class StudyVariant:
    """What `--seeds`, `--only` and `--set` ask for; nothing where all are empty."""

    seeds: tuple[int, ...] = ()  # in place of the file's
    file_seeds: tuple[tuple[int, ...], ...] = ()  # those of the file on each task, where `seeds` replace them
    remembered: bool = False  # whether an earlier command was given the seeds
    only: tuple[str, ...] = ()  # the methods kept besides the baseline, where some are left out
    sets: tuple[str, ...] = ()  # the assignments that change a value of the file

    @property
    def covers_file(self) -> bool:
        """Whether the seeds given are all those of the file, or more."""
        return bool(self.seeds) and all(set(seeds) <= set(self.seeds) for seeds in self.file_seeds)

    @property
    def extends_file(self) -> bool:
        """Whether they are those of the file and others."""
        return self.covers_file and any(set(seeds) < set(self.seeds) for seeds in self.file_seeds)


def seeds_remark(variant: StudyVariant) -> str:
    """`0-7, by an earlier --seeds; the file has 0-4`."""
    how = "by an earlier --seeds" if variant.remembered else "by --seeds"
    own = " or ".join(dict.fromkeys(ranges(seeds) for seeds in variant.file_seeds))
    return f"{ranges(variant.seeds)}, {how}; the file has {own}"


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds as `--seeds` takes them: `8` for 0 to 7, else `3,5,8` or `7-36`."""
    return str(len(seeds)) if list(seeds) == list(range(len(seeds))) else ranges(seeds).replace(" ", "")
