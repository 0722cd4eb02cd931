"""Environment variables: what has no effect is said, by every command, and what has one is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hfbench.cli.environment import ignored_variables

pytestmark = pytest.mark.usefixtures("shelf")


def test_what_has_no_effect_is_said(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    given = {"HFBENCH_DTAA": gone, "HFBENCH_JOBS": "2", "HFBENCH_RESULTS": "", "HFBENCH_DATA": gone, "HOME": gone}
    known = "hfbench reads HFBENCH_DATA and HFBENCH_RESULTS."
    assert [line.removeprefix("the environment variable ") for line in ignored_variables(given)] == [
        f"HFBENCH_DATA names {gone}, which is not a folder: no data are found there.",
        f"HFBENCH_DTAA is ignored (did you mean HFBENCH_DATA?); {known}",
        f"HFBENCH_JOBS is ignored; {known}",
        "HFBENCH_RESULTS is ignored, since it is empty.",
    ]


def test_what_has_an_effect_is_not(tmp_path: Path) -> None:
    given = {"HFBENCH_DATA": str(tmp_path), "HFBENCH_RESULTS": "anywhere", "HFBENCH_ORACLES": "of the tests"}
    assert list(ignored_variables(given)) == []


def test_every_command_says_it(hf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HFBENCH_RESULT", "there")
    for words in (["list"], ["data", "where"], ["show", "cg"]):
        status, _, err = hf(*words)
        assert (status, err.count("\n")) == (0, 1)
        assert err.startswith(
            "hfbench: the environment variable HFBENCH_RESULT is ignored (did you mean HFBENCH_RESULTS?)"
        )
