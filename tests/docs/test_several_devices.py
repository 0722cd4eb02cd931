"""The script of the page on several devices prints the same line for one process and for two."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.blocks import blocks, matches, pages


@pytest.mark.slow
def test_two_processes_print_what_one_does(tmp_path: Path) -> None:
    script = next(one for one in blocks(pages()["howto/several-devices.md"]) if one.title == "train.py")
    (tmp_path / "train.py").write_text(script.text)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "train.py"]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert script.expected is not None
    assert matches(script.expected, ended.stdout), ended.stdout
