"""Study files that nobody wrote cost one sentence each: no traceback, no long message, no waiting.

Each file is read and planned as far as no data are needed. Some of the small study are also prepared to be run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.mutated_studies import assignment, mutant
from support.tiny_study import TEXT, tiny

from hfbench.config.duplicate_methods import duplicate_methods
from hfbench.config.limit_advice import limit_advice
from hfbench.config.load import load_study
from hfbench.config.study import Study, to_dict
from hfbench.config.study_runs import runs_of
from hfbench.config.to_toml import toml
from hfbench.errors import HfbenchError
from hfbench.execution.preflight import preflight
from hfbench.execution.screen import Screen
from hfbench.statistics.seed_advice import seed_advice

LONGEST = 1500  # characters of a message
SLOWEST = 20.0  # seconds of a processor for one file
FAST, MORE, ALL = range(100), range(100, 1500), range(1500, 20_000)
SETS = range(60)


def plan(study: Study, folder: Path) -> None:
    """What `hfbench run --plan` makes of a study before it reads any data."""
    limit_advice(study.primary, {task: on_task.budget for task, on_task in study.on.items()})
    seed_advice(study)
    duplicate_methods(study)
    to_dict(study)
    toml(study, folder)
    for spec in runs_of(study)[:3]:
        spec.key()


def refused(read: Callable[[], Study], folder: Path) -> bool:
    """Whether the study is refused, by one short sentence; any other exception is raised."""
    since = time.process_time()
    try:
        plan(read(), folder)
    except HfbenchError as error:
        said = str(error)
        assert len(said) <= LONGEST, said
        assert said.isprintable(), said
        return True
    finally:
        assert time.process_time() - since < SLOWEST
    return False


@pytest.mark.parametrize(
    "numbers",
    [FAST, pytest.param(MORE, marks=pytest.mark.slow), pytest.param(ALL, marks=[pytest.mark.slow, pytest.mark.long])],
    ids=["fast", "more", "all"],
)
def test_a_mutated_study_file_costs_a_sentence(tmp_path: Path, numbers: range) -> None:
    file = tmp_path / "mutant.toml"
    answers = []
    for number in numbers:
        file.write_bytes(mutant(number))
        answers.append(refused(lambda: load_study(str(file)), tmp_path))
    assert len(numbers) / 2 < sum(answers) < len(numbers)  # some are sound: the changes are small enough to be read


@pytest.mark.parametrize("numbers", [SETS, pytest.param(range(60, 2000), marks=pytest.mark.slow)], ids=["fast", "more"])
def test_a_mutated_assignment_costs_a_sentence(tmp_path: Path, numbers: range) -> None:
    source = tiny(tmp_path).source
    answers = [refused(lambda: load_study(source, overrides=[assignment(n)]), tmp_path) for n in numbers]  # noqa: B023
    assert 0 < sum(answers) < len(numbers)


@pytest.mark.slow
def test_what_is_accepted_is_ready_to_run_or_refused_by_a_sentence(tmp_path: Path) -> None:
    """The preparation of runs builds every model and batch, and evaluates the first."""
    (tmp_path / "tiny.toml").write_text(TEXT)
    prepared = 0
    for number in range(600):
        with suppress(HfbenchError):
            study = load_study(str(tmp_path / "tiny.toml"), overrides=[assignment(number)])
            prepared += 1
            try:
                preflight(runs_of(study.first_seeds(1)), None, Screen(quiet=True))
            except HfbenchError as error:
                assert len(str(error)) <= LONGEST  # noqa: PT017
    assert prepared > 20
