"""Source files of parts are regular and of a bounded size, whoever reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.misplaced_files import MISPLACED, soon

from hfbench.config.source_hash import _parsed
from hfbench.errors import ConfigError
from hfbench.execution.part_shipping import AddedPart
from hfbench.parts.plugin_files import import_file, module_name
from hfbench.parts.source_files import LARGEST, read_source

KINDS = ("pipe", "device", "sparse")  # a link may lead anywhere: the file is the user's
READERS: dict[str, Callable[[Path], object]] = {
    "read_source": read_source,
    "the name of a plugin": module_name,
    "its import": lambda file: import_file("misplaced_plugin", file),
    "its way to a worker": lambda file: AddedPart("solver", "x", "x", "X", str(file)).sent(),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_source_file_is_refused_at_once(tmp_path: Path, kind: str, reader: str) -> None:
    file = tmp_path / "part.py"
    MISPLACED[kind](file)
    with pytest.raises(ConfigError, match=r"part\.py must be a readable Python file, but: it "):
        soon(lambda: READERS[reader](file))


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_that_cannot_be_read_is_not_parsed(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "helper.py"
    MISPLACED[kind](file)
    assert soon(lambda: _parsed("helper", file)) is None


def test_a_file_is_read_up_to_the_bound(tmp_path: Path) -> None:
    file = tmp_path / "part.py"
    file.write_bytes(b"#" * LARGEST)
    assert len(read_source(file)) == LARGEST
