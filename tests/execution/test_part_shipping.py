"""Parts that go to other processes, and classes that cannot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TYPED = """
from hfbench import registry
from hfbench.errors import ConfigError
from hfbench.config.study_runs import runs_of
from hfbench.solvers.cg import CG
from hfbench.execution.part_shipping import added_parts
from support.tiny_study import MISBEHAVING, Path, tiny


class Typed(CG):
    "Conjugate gradients."


registry.add("solver", "typed", Typed)
specs = runs_of(tiny(Path({folder!r}), extra=MISBEHAVING % ("own", "typed")))
try:
    added_parts(specs)
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("claims", ["<stdin>", "a kernel's launcher", "nothing"])
def test_a_class_that_is_typed_needs_one_job(tmp_path: Path, claims: str) -> None:
    """`python -` gives __main__ the file "<stdin>"; a kernel may leave it none, or one that is not the class's."""
    code = TYPED.format(folder=str(tmp_path))
    if claims == "a kernel's launcher":
        code = f"__file__ = {str(tmp_path / 'launcher.py')!r}\n{code}"
    elif claims == "nothing":
        code = f"del __file__\n{code}"
    path = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, env={**os.environ, **path})
    assert (done.returncode, done.stderr) == (0, "")
    assert "must be in a file that other processes can load, but is defined in no file (__main__.Typed)" in done.stdout
    assert "or run with one job (jobs=1)." in done.stdout
