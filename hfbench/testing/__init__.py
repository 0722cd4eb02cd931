"""Contracts: properties that every part of a family must have, as checks for `hfbench check NAME` and for pytest.

    from hfbench.testing import SolverContract

    class TestMySolver(SolverContract):
        part = MySolver            # or an instance, MySolver(theta=0.5), to check other settings than the defaults

Each `test_…` method is one check. A broken check reports the expectation, the answer, and why it matters.
"""

from __future__ import annotations

from hfbench.testing.contract import Contract, ContractBroken
from hfbench.testing.optimizer import OptimizerContract
from hfbench.testing.preconditioner import PreconditionerContract
from hfbench.testing.rule import RuleContract
from hfbench.testing.scheduler import SchedulerContract
from hfbench.testing.solver import SolverContract
from hfbench.testing.task import TaskContract

CONTRACTS: dict[str, type[Contract]] = {
    "solver": SolverContract,
    "preconditioner": PreconditionerContract,
    "scheduler": SchedulerContract,
    "task": TaskContract,
    "rule": RuleContract,
    "optimizer": OptimizerContract,
}

__all__ = [
    "CONTRACTS",
    "Contract",
    "ContractBroken",
    "OptimizerContract",
    "PreconditionerContract",
    "RuleContract",
    "SchedulerContract",
    "SolverContract",
    "TaskContract",
]
