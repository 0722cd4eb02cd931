"""The history of judgements: kept in order, not doubled, and never silently lost."""

from pathlib import Path

import pytest
from support.misplaced_files import MISPLACED, soon

from hfbench.errors import StoreError
from hfbench.records.judgements import FILE, Judged, judged_before, remember

ENTRY = {"a against b on c": Judged("digest", "rule", (0, 1), (0, 1), "better")}


def test_judgements_are_kept_in_their_order_and_the_same_one_once(tmp_path: Path) -> None:
    assert judged_before(tmp_path) == []
    remember(tmp_path, judged_before(tmp_path), (), ENTRY)
    remember(tmp_path, judged_before(tmp_path), (), ENTRY)
    more = {"a against b on c": Judged("digest", "rule", (0, 1, 2), (0, 1, 2), "worse")}
    remember(tmp_path, judged_before(tmp_path), (2, 3), more)
    first, second = judged_before(tmp_path)
    assert (first.judged, first.looks) == (ENTRY, ())
    assert (second.judged, second.looks) == (more, (2, 3))
    assert first.when <= second.when


def test_a_changed_verdict_is_noticed(tmp_path: Path) -> None:
    remember(tmp_path, [], (), ENTRY)
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace("better", "bitter"))
    with pytest.raises(StoreError, match=FILE):
        judged_before(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"judgements": [{"looks": []}]}', '{"judgements": 3}', "nonsense", "[1]"])
def test_a_damaged_history_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(StoreError, match=FILE):
        judged_before(tmp_path)


@pytest.mark.parametrize("kind", sorted(MISPLACED))
def test_a_history_that_may_not_be_read_is_named(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    MISPLACED[kind](folder / FILE)
    with pytest.raises(StoreError, match="must hold the judgements of the study, but it cannot be read"):
        soon(lambda: judged_before(folder))
