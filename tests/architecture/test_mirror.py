"""Tests mirror the house: `tests/linalg/test_vector.py` is about `hfbench/linalg/vector.py`, and so on."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PLUGINS = ("solvers", "schedulers", "tasks", "studies")
NO_MIRROR = ("architecture", "benchmarks", "docs")  # folders of tests that are about no folder of the house

# Modules without a test file of their own, by the one that tests them.
TESTED_IN = {
    "architecture/test_moved_imports.py": ["moved_imports"],
    "cli/test_main.py": ["errors"],
    "tasks/test_digits.py": ["tasks/digits_class", "tasks/digits_data"],
    "tasks/test_equations.py": [
        *("tasks/poisson_2d", "tasks/heat_1d", "tasks/helmholtz", "tasks/burgers", "tasks/allen_cahn"),
        "tasks/cosine_series",
    ],
    "cli/test_probe.py": ["commands/capture"],
    "commands/test_diagnose.py": ["diagnosis/nonfinite_origin", "diagnosis/run_trace"],
    "commands/test_probe_solvers.py": ["probe/figures"],
    "commands/test_simulate.py": ["cli/simulate"],
    "statistics/test_calibration.py": ["statistics/simulation"],
    "statistics/test_seed_advice.py": ["statistics/families"],
    "config/test_sweep.py": ["config/search_ranges"],
    "commands/test_sweep.py": [
        *("sweep/conclusion", "sweep/console_tables", "sweep/report"),
    ],
    "execution/test_processes.py": ["execution/preloaded"],
    "hessian_free/test_model_guard.py": ["curvature/model_trial"],
    "report/test_conclusion.py": [
        *("report/finding_tables", "report/reproduction", "statistics/findings"),
    ],
    "solvers/optimizers/test_baselines.py": [
        *("solvers/optimizers/adamw", "solvers/optimizers/nadamw", "solvers/optimizers/sgd", "solvers/optimizers/muon"),
        *("solvers/optimizers/soap", "solvers/optimizers/shampoo", "solvers/optimizers/sophia"),
        *("solvers/optimizers/adahessian", "solvers/optimizers/schedule_free", "solvers/optimizers/adam_moments"),
        *("solvers/optimizers/minibatches", "solvers/optimizers/counted_hessian"),
    ],
    "inner_solve/test_span.py": ["parts/span"],
    "solvers/preconditioners/test_kfac.py": [
        *("solvers/preconditioners/kronecker_averages", "solvers/preconditioners/kronecker_state")
    ],
    "solvers/optimizers/test_first_order.py": ["solvers/optimizers/adam", "solvers/optimizers/lbfgs"],
    "solvers/optimizers/test_torch_optimizer.py": [
        *("solvers/optimizers/optimizer_class", "solvers/optimizers/setting_ranges"),
    ],
    "solvers/test_scipy_parity.py": ["solvers/cg", "solvers/lsmr", "solvers/lsqr"],
    "tracking/test_mlflow_store.py": ["tracking/run_metrics"],
    # Contracts are tested by parts that break them, and protocols by contracts.
    "testing/test_contract.py": [
        *("parts/protocols", "parts/shown_outputs", "testing/kinds", "testing/operations"),
        *("testing/optimizer", "testing/preconditioner"),
        *("testing/built_preconditioner", "testing/opened_files", "testing/solver_runs", "testing/task_data"),
        *("testing/problems", "testing/rule", "testing/scheduler", "testing/solver", "testing/systems", "testing/task"),
    ],
}
# Test files that are about several modules of the house at once.
OF_SEVERAL = {
    *("cli/test_plugin_option.py", "commands/test_ended_anywhere.py", "commands/test_run_at_once.py"),
    *("cli/test_foreign_texts.py", "commands/test_kept_weights.py"),
    *("config/test_mutated_studies.py", "config/test_ranges.py"),
    *("hessian_free/test_library.py", "hessian_free/test_reference.py", "runs/test_memory_of_runs.py"),
    *("runs/test_misbehaving_parts.py", "runs/test_work_of_runs.py"),
    "solvers/optimizers/test_baselines.py",
    *("solvers/test_scipy_parity.py", "solvers/test_states.py", "solvers/test_traffic.py"),
    *(
        "solvers/preconditioners/test_preconditioners.py",
        "tasks/test_default_budgets.py",
        "tasks/test_equations.py",
        "tasks/test_products.py",
    ),
    *("records/test_damaged_files.py", "records/test_hostile_folders.py"),
    *("statistics/test_calibration.py", "studies/test_published.py", "studies/test_published_sweeps.py"),
    *("testing/test_own_parts.py", "testing/test_promises.py", "testing/test_under_pytest.py"),
    *("tracking/test_browser.py", "tracking/test_services.py"),
}


def modules() -> set[str]:
    """`linalg/vector` for every module of the house that holds code, `solvers/cg` for those of the plugin folders."""
    core = ROOT / "hfbench"  # rglob follows no links
    paths = [file.relative_to(core) for file in core.rglob("*.py")]
    paths += [file.relative_to(ROOT) for plugin in PLUGINS for file in (ROOT / plugin).rglob("*.py")]
    return {str(path.with_suffix("")) for path in paths if not path.name.startswith("__")}


def files() -> set[str]:
    """`linalg/test_vector.py` for every test file that is about the house."""
    paths = (file.relative_to(ROOT / "tests") for file in (ROOT / "tests").rglob("test_*.py"))
    return {str(path) for path in paths if path.parts[0] not in NO_MIRROR}


def mirror(module: str) -> str:
    folder, slash, name = module.rpartition("/")
    return f"{folder}{slash}test_{name}.py"


def untested(modules: Iterable[str], tests: Iterable[str]) -> set[str]:
    elsewhere = {module for tested in TESTED_IN.values() for module in tested}
    return {module for module in modules if mirror(module) not in tests} - elsewhere


def left_over(modules: Iterable[str], tests: Iterable[str]) -> set[str]:
    return {*tests} - {mirror(module) for module in modules} - OF_SEVERAL


def test_every_module_has_its_test_file() -> None:
    assert untested(modules(), files()) == set(), (
        "write it in the mirrored place, or say in TESTED_IN where it is tested"
    )


def test_every_test_file_has_its_module() -> None:
    assert left_over(modules(), files()) == set(), "move it with its module, or say that it is OF_SEVERAL"


def test_gaps_are_found() -> None:
    assert untested({"linalg/vector", "linalg/new", "errors"}, {"linalg/test_vector.py"}) == {"linalg/new"}
    assert left_over({"linalg/vector"}, {"linalg/test_vector.py", "linalg/test_old.py", "solvers/test_states.py"}) == {
        "linalg/test_old.py"
    }


@pytest.mark.parametrize("test", sorted(TESTED_IN))
def test_exceptions_are_needed_and_true(test: str) -> None:
    assert (ROOT / "tests" / test).exists()
    assert set(TESTED_IN[test]) <= modules()
    assert {mirror(module) for module in TESTED_IN[test]}.isdisjoint(files()), "it has a test file of its own"


def test_files_of_several_modules_are_there_and_mirror_none() -> None:
    assert files() >= OF_SEVERAL
    assert OF_SEVERAL.isdisjoint(map(mirror, modules()))


def test_no_test_stands_in_a_file_that_is_not_collected() -> None:
    helpers = [file for file in (ROOT / "tests").rglob("*.py") if not file.name.startswith("test_")]
    lost = [
        f"{file.relative_to(ROOT)}: {function.name}"
        for file in helpers
        for function in ast.parse(file.read_text("utf-8")).body
        if isinstance(function, ast.FunctionDef) and function.name.startswith("test_")
    ]
    assert lost == []
