"""`hfbench probe preconditioners`: the variants it tries, and what age does to a preconditioner."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.frozen_steps import zoo

from hfbench.commands.probe_preconditioners import probe_preconditioners, variants_of
from hfbench.errors import ConfigError, UnknownPartError
from hfbench.parts import registry
from hfbench.parts.hyperparameters import settings_of


def test_nothing_is_tried_twice() -> None:
    made = variants_of(["identity", "martens", "martens", "chapelle-erhan", "kfac"], [1, 2, 2, 4, 8], [0.5, 0.75, 1])
    assert len({one.name for one in made}) == len(made)
    tried = [settings_of(registry.build("preconditioner", dict(one.settings))) | {"use": one.base} for one in made]
    assert all(one not in tried[:index] for index, one in enumerate(tried))


def test_variants_are_made_where_a_part_has_the_setting() -> None:
    made = variants_of(["identity", "martens", "chapelle-erhan"], [1, 4], [0.5])
    assert [one.name for one in made] == [
        "identity", "martens", "chapelle-erhan", "chapelle-erhan 4 probes", "martens ^0.5", "chapelle-erhan ^0.5",
    ]  # fmt: skip
    with pytest.raises(UnknownPartError, match="no preconditioner 'martnes'"):
        variants_of(["martnes"], [1], [1])
    with pytest.raises(ConfigError, match="exponent"):
        variants_of(["martens"], [1], [2.0])


def test_older_systems_of_the_run_tell_what_age_does(tmp_path: Path) -> None:
    screen = io.StringIO()
    variants = variants_of(["identity", "martens"], [], [])
    assert probe_preconditioners(list(zoo()), variants, "cg", 200, 500, tmp_path, Console(file=screen, width=80)) == 0
    rows = pd.read_parquet(tmp_path / "preconditioners.parquet")
    aged = rows[rows["kind"] == "age"]
    assert list(aged["variant"]) == ["martens 2 old"]
    assert list(aged["system"]) == [zoo()[1].name]
    assert max(map(len, screen.getvalue().splitlines())) <= 80 or "exact solution" in screen.getvalue()
    assert (tmp_path / "preconditioners.png").stat().st_size > 5_000


def test_of_many_systems_the_summary_is_printed_and_all_rows_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfbench.commands.probe_preconditioners.MOST_TABLES", 1)
    screen = io.StringIO()
    variants = variants_of(["identity", "chapelle-erhan"], [1, 2], [])
    assert probe_preconditioners(list(zoo()), variants, "cg", 50, 500, tmp_path, Console(file=screen, width=80)) == 0
    assert "iterations to a 1 - q/q*" not in screen.getvalue()
    assert "over identity" in screen.getvalue()
    rows = pd.read_parquet(tmp_path / "preconditioners.parquet")
    assert set(rows["system"]) == {system.name for system in zoo()}
    plain = rows[(rows["kind"] == "preconditioner") & (rows["base"] == "chapelle-erhan")]
    assert set(plain["probes"]) == {1.0}
    assert rows[rows["base"] == "identity"]["probes"].isna().all()
