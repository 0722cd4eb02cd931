"""State that all runs share: what changes it is named, and what libraries do by themselves is no change."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.plugin_files import PLUGIN

from hfbench.curvature import work_ledger
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError, SharedStateError
from hfbench.parts.plugin_files import load_plugin
from hfbench.parts.process_state import changes_since, check_unchanged, process_state

pytestmark = pytest.mark.usefixtures("forgotten")


def test_nothing_changed_is_nothing() -> None:
    before = process_state()
    torch.nn.Linear(2, 3)(torch.ones(1, 2)).sum().backward()
    check_unchanged(before, "a run")


def test_a_setting_is_named_with_what_it_was_and_is() -> None:
    before = process_state()
    torch.set_default_dtype(torch.float64)
    try:
        assert changes_since(before)[0] == "torch's default dtype from torch.float32 to torch.float64"
        with pytest.raises(
            SharedStateError, match="a run must leave alone what all runs share, but changed torch's def"
        ):
            check_unchanged(before, "a run")
    finally:
        torch.set_default_dtype(torch.float32)
    assert changes_since(before) == []


class DispatchMode(torch.utils._python_dispatch.TorchDispatchMode):
    """Changes nothing."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("change", "undo", "named"),
    [
        ("torch.set_grad_enabled(False)", "torch.set_grad_enabled(True)", "gradient mode"),
        ("torch.use_deterministic_algorithms(True)", "torch.use_deterministic_algorithms(False)", "deterministic"),
        ("torch.set_float32_matmul_precision('medium')", "torch.set_float32_matmul_precision('highest')", "precision"),
        ("torch.set_autocast_enabled('cpu', True)", "torch.set_autocast_enabled('cpu', False)", "autocast on cpu"),
        ("sys.setrecursionlimit(900)", "sys.setrecursionlimit(LIMIT)", "the recursion limit from"),
        ("os.chdir('/')", "os.chdir(FOLDER)", "the working folder from"),
        (
            "hook = torch.nn.modules.module.register_module_forward_hook(print)",
            "hook.remove()",
            "global forward hooks from []",
        ),
        (
            "mode = torch.overrides.BaseTorchFunctionMode(); mode.__enter__()",
            "mode.__exit__(None, None, None)",
            "function modes from [] to [",
        ),
        (
            "mode = DispatchMode(); mode.__enter__()",
            "mode.__exit__(None, None, None)",
            "dispatch modes from [] to [",
        ),
        (
            "hooks = torch.autograd.graph.saved_tensors_hooks(abs, abs); hooks.__enter__()",
            "hooks.__exit__(None, None, None)",
            "hooks of saved tensors from None to",
        ),
    ],
)
def test_every_setting_counts(change: str, undo: str, named: str) -> None:
    before_it = {"LIMIT": sys.getrecursionlimit(), "FOLDER": os.getcwd()}
    scope = {"DispatchMode": DispatchMode, "torch": torch, "sys": sys, "os": os, **before_it}
    before = process_state()
    exec(change, scope)
    try:
        (phrase,) = changes_since(before)
    finally:
        exec(undo, scope)
    assert named in phrase


def test_a_replaced_function_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_state()
    monkeypatch.setattr(Ledger, "count", lambda *of: None)
    monkeypatch.setattr(work_ledger, "_counted", functools.wraps(work_ledger._counted)(lambda: ()))
    monkeypatch.setattr(torch, "dot", lambda a, b: 0)
    monkeypatch.setitem(work_ledger.UNITS, "jvp", 0)
    changes = changes_since(before)
    assert len(changes) == 4, "three are named, and the rest counted"
    assert changes[-1].endswith(" more")
    ledger = "hfbench.curvature.work_ledger"  # whose dictionary is also another module's by name
    assert set(changes[:-1]) < {"torch.dot", f"{ledger}.UNITS['jvp']", f"{ledger}.Ledger.count", f"{ledger}._counted"}


@pytest.mark.parametrize(
    ("module", "name", "named"),
    [
        ("torch.optim.adam", "Adam.step", "torch.optim.adam.Adam.step"),
        ("torch.optim.adam", "_single_tensor_adam", "torch.optim.adam._single_tensor_adam"),
        ("torch.optim.lr_scheduler", "LinearLR.get_lr", "torch.optim.lr_scheduler.LinearLR.get_lr"),
        ("pytorch_optimizer.optimizer.soap", "SOAP.project", "pytorch_optimizer.optimizer.soap.SOAP.project"),
    ],
)
def test_what_baselines_are_made_of_counts(module: str, name: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(module.partition(".")[0])
    owner = importlib.import_module(module)
    *classes, member = name.split(".")
    for cls in classes:
        owner = getattr(owner, cls)
    before = process_state()
    monkeypatch.setattr(owner, member, lambda *of: None)
    assert changes_since(before) == [named]


def test_the_code_of_a_function_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_state()
    monkeypatch.setattr(work_ledger.ledger_of, "__code__", (lambda given: given).__code__)
    assert "hfbench.curvature.work_ledger.ledger_of" in changes_since(before)


COMPILER = """
import torch
from hfbench.parts.process_state import changes_since, process_state
before = process_state()
import torch._dynamo, torch.distributed
torch.optim.SGD([torch.zeros(2, requires_grad=True)], 0.1)
print(changes_since(before))
"""


@pytest.mark.slow
def test_what_torch_wraps_by_itself_is_no_change() -> None:
    done = subprocess.run([sys.executable, "-c", COMPILER], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("import torch; torch.set_default_dtype(torch.float64)", "torch's default dtype from torch.float32 to"),
        ("import hfbench.runs.evaluation as e; e.mean_error = print", "hfbench.runs.evaluation.mean_error"),
    ],
)
def test_a_plugin_file_whose_import_changes_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, named: str
) -> None:
    from hfbench.runs import evaluation

    monkeypatch.setattr(evaluation, "mean_error", evaluation.mean_error)  # put back at the end
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN + line + "\n")
    try:
        with pytest.raises(
            ConfigError, match=r"^--plugin: the import of .*plugin.py must leave alone .* changed "
        ) as said:
            load_plugin(file)
    finally:
        torch.set_default_dtype(torch.float32)
    assert named in str(said.value)
