"""Every sentence of the protocols' docstrings has a check of a contract, or a reason why there is none."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

from hfbench.parts import protocols, shown_outputs
from hfbench.testing import CONTRACTS

# What the core hands to parts, and plain records: no promise of a part.
OF_THE_CORE = {"Breakdown", "Stop", "System", "TaskData"}

SOLVER, RULE, TASK, OPTIMIZER = "solver", "rule", "task", "optimizer"
PRECONDITIONER, SCHEDULER = "preconditioner", "scheduler"
REGISTERED = "hfbench.parts.families refuses another class when it is registered"

# Beginnings of sentences -> the family and its checks, or the reason.
PROMISES: dict[str, tuple[str, ...] | str] = {
    # solvers
    "InnerSolver: A `@part` class.": REGISTERED,
    "InnerSolver: `iterates` is the paper's algorithm": (SOLVER, "prints_nothing", "solves_the_same", "is_determ"),
    "InnerSolver: `monotone` names": (SOLVER, "keeps_its_monotone_quantity"),
    "InnerSolver: A solver that uses no preconditioner": (SOLVER, "honours_the_preconditioner_or_refuses_it"),
    "InnerSolver: A solver draws": (SOLVER, "draws_no_random_numbers"),
    "InnerSolver.iterates: States 0, 1, 2": (
        *(SOLVER, "counts_its_products", "honours_the_warm_start", "saves_the_product_at_zero"),
    ),
    "InnerSolver.iterates: x0 is not changed.": (SOLVER, "honours_the_warm_start_and_leaves_it_alone"),
    "SolverState: State of a solver": (SOLVER, "states_are_states", "states_are_snapshots"),
    "SolverState: Rules may need more": (RULE, "says_what_it_reads"),
    "SolverState.q:": (SOLVER, "reports_true_values"),
    "SolverState.relative_residual:": (SOLVER, "reports_true_values"),
    "SolverState.products:": (SOLVER, "counts_its_products"),
    "Rule: A stopping rule": (RULE, "begins_anew_for_every_solve"),
    "Rule: A test reads": (RULE, "says_what_it_reads", "leaves_states_alone", "draws_no_random_numbers"),
    # preconditioners
    "BuiltPreconditioner: A built preconditioner M": (PRECONDITIONER, "is_symmetric_and_positive", "follows_the_dam"),
    "BuiltPreconditioner: It may declare `replayable": (PRECONDITIONER, "is_replayable_if_it_says_so"),
    "BuiltPreconditioner: On a GPU": "the core replays it",
    "BuiltPreconditioner.solve:": (PRECONDITIONER, "builds_a_factor", "is_linear"),
    "BuiltPreconditioner.solve_factor:": (PRECONDITIONER, "its_factors_make_its_inverse"),
    "BuiltPreconditioner.solve_factor_t:": (PRECONDITIONER, "its_factors_make_its_inverse"),
    "Preconditioner: A `@part` class": (PRECONDITIONER, "every_run_begins_alike"),
    "Preconditioner: `cases` names": (PRECONDITIONER, "says_which_cases_it_is_built_on"),
    "Preconditioner: One that does nothing": (PRECONDITIONER, "says_whether_it_does_nothing"),
    "Preconditioner: One that keeps a state": (PRECONDITIONER, "every_run_begins_alike"),
    "Preconditioner.build: Random numbers": (PRECONDITIONER, "is_deterministic_for_a_gen", "every_run_begins_alike"),
    "Preconditioner.build: `shift` is": (
        PRECONDITIONER,
        "does_not_depend_on_chunking_or_layout",
        "leaves_its_arguments_alone",
    ),
    "StatefulPreconditioner: A preconditioner whose M": (PRECONDITIONER, "goes_on_from_a_saved_state"),
    "StatefulPreconditioner: Its `begin`": (PRECONDITIONER, "every_run_begins_alike"),
    "StatefulPreconditioner.begin: The state at the start": (PRECONDITIONER, "every_run_begins_alike"),
    "StatefulPreconditioner.begin: Raises ConfigError": (PRECONDITIONER, "refuses_a_model_by_a_config_error"),
    "PreconditionerState: A preconditioner over": (PRECONDITIONER, "every_run_begins_alike"),
    "PreconditionerState.build:": (PRECONDITIONER, "every_run_begins_alike"),
    "PreconditionerState.state_dict:": (
        *(
            PRECONDITIONER,
            "leaves_a_saved_state_alone",
            "goes_on_from_a_saved_state",
            "saves_nothing_if_it_has_no_state",
        ),
    ),
    "PreconditionerState.load_state_dict: Continues": (
        *(PRECONDITIONER, "goes_on_from_a_saved_state", "begins_again_from_an_empty_state"),
    ),
    "PreconditionerState.load_state_dict: Raises": (
        *(PRECONDITIONER, "refuses_a_foreign_state", "refuses_a_state_of_another_model"),
    ),
    # baselines
    "StepRecord: Record of one outer": (OPTIMIZER, "tells_of_its_step"),
    "StepRecord.to_row: At least": (OPTIMIZER, "tells_of_its_step"),
    "StepRecord.to_row: `objective_after` is": (OPTIMIZER, "reports_true_values"),
    "StepRecord.to_row: `gradient_norm` is": (OPTIMIZER, "reports_true_values"),
    "StepRecord.to_row: Other entries": (OPTIMIZER, "reports_true_values"),
    "Optimizer: An optimiser of one model": (OPTIMIZER, "begins_an_optimizer"),
    "Optimizer.step: One outer iteration": (OPTIMIZER, "takes_other_cases_for_the_curvature", "is_deterministic"),
    "Optimizer.step: Its record": (OPTIMIZER, "tells_of_its_step"),
    "Optimizer.step: Changes none": (OPTIMIZER, "leaves_its_batch_alone"),
    "Optimizer.step: Raises ConfigError": (OPTIMIZER, "tells_of_its_step"),
    "SupportsPrepare: An optimiser that checks": (OPTIMIZER, "prepares_without_a_step"),
    "Horizon: Length of a run": "the core makes it",
    "SupportsHorizon: An optimiser whose settings": (OPTIMIZER, "is_deterministic", "resumes_where_it_stopped"),
    "SupportsHorizon.expect: Told once": "the core tells it",
    "SupportsHorizon.expect: Raises ConfigError": "tests/solvers/optimizers/test_learning_rates.py",
    "FollowsLength: A `@part` class": "tests/records/test_shorter_runs.py",
    "NamesClasses: A `@part` class": "the core asks it",
    "NamesClasses: Their source counts": "tests/solvers/optimizers/test_torch_optimizer.py",
    "SuggestsRanges: A `@part` class": "the core asks it",
    "SuggestsRanges.ranges: Search ranges": "tests/solvers/optimizers/test_torch_optimizer.py",
    "Baseline: A `@part` class": REGISTERED,
    "Baseline.begin:": (OPTIMIZER, "lowers_the_objective", "takes_the_weight_decay"),
    # schedulers
    "BatchPlan: Plan of the next": (SCHEDULER, "keeps_to_the_cases_there_are", "gives_reasons"),
    "Evidence: Evidence of a step": "the core makes it",
    "Evidence: Entries that a scheduler": (SCHEDULER, "says_what_it_needs"),
    "Scheduler: A `@part` class": (SCHEDULER, "begins_a_schedule"),
    "Scheduler.begin: The schedule for": (SCHEDULER, "is_replayable"),
    "Scheduler.begin: Raises ConfigError": (SCHEDULER, "keeps_to_the_cases_there_are", "refuses_what_cannot_be"),
    "Schedule: The batch sizes": (SCHEDULER, "is_replayable"),
    "Schedule: Never shrinks": (SCHEDULER, "never_shrinks", "draws_no_random_numbers"),
    "Schedule.plan:": (SCHEDULER, "plan_is_what_next_gave"),
    "Schedule.next:": (SCHEDULER, "plan_is_what_next_gave"),
    "Schedule.state_dict:": (SCHEDULER, "state_goes_through_json", "leaves_a_saved_state_alone"),
    # tasks
    "Split: Cases of one split": (TASK, "shapes_and_ranges"),
    "Task: A `@part` class": (TASK, "declares_what_a_study_needs", "target_is_not_met_at_the_start"),
    "Task: Where evaluation is dear": (TASK, "declares_what_a_study_needs"),
    "Task: With `error_is_root": (TASK, "declares_what_a_study_needs"),
    "Task: `files` lists": (TASK, "lists_the_files_that_it_reads", "its_files_are_checked"),
    "Task: Generators come from": (TASK, "data_are_the_same_for_a_seed", "model_is_the_same_for_a_seed"),
    "Task.load: The data as float32": (
        *(TASK, "shapes_and_ranges", "generator_draws_the_validation_cases", "searches_the_data_folder_first"),
    ),
    "Task.model: A freshly": (TASK, "model_is_the_same_for_a_seed", "model_and_loss_fit_the_data"),
    "Task.error: Per-case": (TASK, "error_is_per_case"),
    "Field: A function": (TASK, "field_is_of_all_test_cases"),
    "HasField: A task whose": "a report shows what `field` gives",
    "HasField.field:": (TASK, "field_is_of_all_test_cases"),
    "HasPictures: A task whose": "a report shows what `pictures` gives",
    "HasPictures.pictures:": (TASK, "pictures_are_images"),
}


def sentences() -> list[str]:
    """`Class: sentence` and `Class.method: sentence` of the protocols, without those of the core."""
    found = []
    source = "\n".join(inspect.getsource(module) for module in (protocols, shown_outputs))
    for node in ast.parse(source.replace("from __future__ import annotations", "")).body:
        if isinstance(node, ast.ClassDef) and node.name not in OF_THE_CORE:
            found += _of(node.name, node)
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    found += _of(f"{node.name}.{method.name}", method)
    return found


def _of(name: str, node: ast.ClassDef | ast.FunctionDef) -> list[str]:
    text = " ".join((ast.get_docstring(node) or "").split())
    return [f"{name}: {sentence}" for sentence in re.split(r"(?<=\.) (?=[A-Z`]|x0)", text) if sentence]


def test_every_sentence_has_its_check_or_a_reason() -> None:
    without = [line for line in sentences() if not any(line.startswith(promise) for promise in PROMISES)]
    assert without == [], "write a check for the promise, and name it in PROMISES"


@pytest.mark.parametrize("promise", PROMISES)
def test_the_table_is_of_promises_and_checks_that_there_are(promise: str) -> None:
    assert any(line.startswith(promise) for line in sentences())
    held = PROMISES[promise]
    if not isinstance(held, str):
        family, *checks = held
        names = CONTRACTS[family].checks()
        assert all(any(name.startswith(f"test_{check}") for name in names) for check in checks), held
