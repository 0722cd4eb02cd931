"""Sealed files: their contents come back as they were, and no others do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfbench.errors import StoreError
from hfbench.records.sealed import read_sealed_json, unseal, write_sealed, write_sealed_json

MAGIC = b"test 1\n"


def test_a_payload_comes_back_and_a_changed_one_does_not(tmp_path: Path) -> None:
    file = tmp_path / "a"
    write_sealed(file, MAGIC, lambda sink: [sink.write(b"pay"), sink.write(memoryview(b"load")), sink.flush()])
    held = file.read_bytes()
    assert unseal(MAGIC, held) == b"payload"
    assert unseal(b"test 2\n", held) is None
    for at in range(len(held)):
        assert unseal(MAGIC, held[:at]) is None
        flipped = bytearray(held)
        flipped[at] ^= 1
        assert unseal(MAGIC, bytes(flipped)) is None


def test_sealed_json_says_that_it_was_changed(tmp_path: Path) -> None:
    file, values = tmp_path / "a.json", {"verdicts": ["better"], "seeds": (0, 1), "rho": float("inf")}
    assert read_sealed_json(file) is None
    write_sealed_json(file, values)
    assert read_sealed_json(file) == {"verdicts": ["better"], "seeds": [0, 1], "rho": None}
    file.write_text(file.read_text().replace("better", "wetter"))
    with pytest.raises(StoreError, match=r"a.json is damaged: .* sha256"):
        read_sealed_json(file)


def test_what_an_earlier_version_wrote_without_a_seal_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"verdicts": []}))
    assert read_sealed_json(tmp_path / "a.json") == {"verdicts": []}
