"""A whole optimiser step against its unavoidable parts, side by side in one process.

These parts are as many products as the step made (with G, or with J and Jᵀ for solvers of the least-squares form), the
gradient (a forward and a backward pass), as many evaluations of the objective as its method prescribes (the ledger
counts both), and the squared gradients of its preconditioner. Each is timed separately after the step, on the same
cases, so that a machine that slows down slows both. The ratio is the median over steps. With one thread, time is the
thread's processor time, which other processes disturb less.

Further steps, which measuring slows down, give the share of vector algebra of solver, preconditioner and system.
"other" is the rest beyond the parts above and that. Both are shares of the step.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch import Tensor, nn

from hfbench import HessianFree, registry
from hfbench.curvature.linearisation import Linearisation
from hfbench.curvature.loss import mean_loss
from hfbench.linalg.vector import Vector
from hfbench.runs.random_streams import generator

if TYPE_CHECKING:
    from benchmarks.runner import Options

Clock = Callable[[], float]
Row = dict[str, float | int | str | None]

TITLE = "A step against its products, gradient, evaluations and squared gradients"
COLUMNS = {
    "task": "task", "method": "method", "cases": "cases", "products": "prod.", "evaluations": "eval.",
    "step_ms": "step ms", "pieces_ms": "pieces ms", "ratio": "ratio",
    "vectors": "vect.", "other": "other",
}  # fmt: skip
METHODS = (("cg", "martens"), ("cg", "chapelle-erhan"), ("lsmr", "chapelle-erhan"), ("lsqr", "martens"))
CASES = (("usps", 250), ("usps", 1000), ("usps", 4000), ("curves", 1000), ("mnist", 1000))
ALGEBRA = tuple(name for name, method in vars(Vector).items() if callable(method))
PASSES = ("__init__", "gauss_newton", "jvp", "vjp", "squared_sums")


def rows(options: Options) -> Iterator[Row]:
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    for task, cases in CASES[:2] if options.quick else CASES:
        for solver, preconditioner in METHODS[1:3] if options.quick else METHODS:
            yield compare(task, solver, preconditioner, cases, 3 if options.quick or cases > 1000 else 7, clock)


def compare(task_name: str, solver: str, preconditioner: str, cases: int, steps: int, clock: Clock) -> Row:
    """Medians over steps: milliseconds, the ratio, and the parts of a step's time."""
    task = registry.build("task", task_name)
    model = task.model(generator(0, "weights"))
    x = images(cases, model)
    optimizer = HessianFree(
        model, task.loss, solver=solver, preconditioner=preconditioner, decay=task.decay, max_inner=25
    )
    optimizer.step(x, x)  # the guard's trial, and what is made once
    found = [step_and_pieces(optimizer, x, clock) for _ in range(steps)]
    row: Row = {name: statistics.median(measured[name] for measured in found) for name in found[0]}
    vectors = share_of_vectors(optimizer, x, clock, steps)
    parts = {"vectors": vectors, "other": 1 - 1 / statistics.median(measured["ratio"] for measured in found) - vectors}
    return {"task": task_name, "method": f"{solver} {preconditioner}", "cases": cases, **row, **parts}


def images(cases: int, model: nn.Module) -> Tensor:
    """Images with grey values in (0, 1) from ten hidden factors."""
    features = next(module for module in model.modules() if isinstance(module, nn.Linear)).in_features
    draws = generator(0, "inputs")
    return (torch.randn(cases, 10, generator=draws) @ torch.randn(10, features, generator=draws)).sigmoid()


# ---------------------------------------------------------------- the step and its pieces


def step_and_pieces(optimizer: HessianFree, x: Tensor, clock: Clock) -> dict[str, float]:
    before = optimizer.ledger.state_dict()
    step, result = seconds(lambda: optimizer.step(x, x), clock)
    did = {name: count - before[name] for name, count in optimizer.ledger.state_dict().items()}
    each = pieces(optimizer, x, clock)
    if result.right_hand_side:
        products = did["jvp_calls"] * each["jvp"] + did["vjp_calls"] * each["vjp"]
    else:
        products = did["jvp_calls"] * each["gauss_newton"]
    evaluations = did["evaluation"] // len(x)
    passes = did["squares"] // len(x)
    total = products + each["gradient"] + evaluations * each["evaluation"] + passes * each["squares"]
    counts = {"products": (did["jvp_calls"] + did["vjp_calls"]) / 2, "evaluations": evaluations}
    return {**counts, "step_ms": 1e3 * step, "pieces_ms": 1e3 * total, "ratio": step / total}


def pieces(optimizer: HessianFree, x: Tensor, clock: Clock) -> dict[str, float]:
    """Seconds of one of each part, at the present weights."""
    model, loss = optimizer.model, optimizer.loss
    at = Linearisation(model, loss, x, x)
    v, u = at.gradient, at.residual
    at.jvp(v)  # records the graph

    def gradient() -> None:
        fresh = Linearisation(model, loss, x, x)
        _ = fresh.value, fresh.gradient

    @torch.no_grad()
    def evaluation() -> None:
        mean_loss(model(x), x, loss)

    calls: dict[str, Callable[[], object]] = {
        "gauss_newton": lambda: at.gauss_newton(v),
        "jvp": lambda: at.jvp(v),
        "vjp": lambda: at.vjp(u),
        "gradient": gradient,
        "evaluation": evaluation,
        "squares": lambda: at.squared_sums(u),
    }
    times = {name: [seconds(call, clock)[0] for _ in range(5)] for name, call in calls.items()}
    return {name: statistics.median(some) for name, some in times.items()}


def seconds(call: Callable[[], Any], clock: Clock) -> tuple[float, Any]:
    start = clock()
    answer = call()
    return clock() - start, answer


# ---------------------------------------------------------------- the rest of a step


class Shares:
    """Sums of the time of calls by kind; a call inside another one counts for the outer one."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.spent, self.inside = clock, defaultdict[str, float](float), False

    def timed(self, call: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def wrapper(*args: Any, **named: Any) -> Any:
            if self.inside:
                return call(*args, **named)
            self.inside = True
            start = self.clock()
            try:
                return call(*args, **named)
            finally:
                self.inside = False
                self.spent[kind] += self.clock() - start

        return wrapper

    def watch(self, stack: ExitStack, owner: type, names: Sequence[str], kind: str) -> None:
        """Until the stack closes, the methods of these names add their time to `kind`."""
        for name in names:
            stack.enter_context(mock.patch.object(owner, name, self.timed(getattr(owner, name), kind)))


def share_of_vectors(optimizer: HessianFree, x: Tensor, clock: Clock, steps: int) -> float:
    """Share of the time of some steps for vector algebra, outside of passes through the model."""
    shares = Shares(clock)
    with ExitStack() as stack:
        shares.watch(stack, Linearisation, PASSES, "passes")
        shares.watch(stack, Vector, ALGEBRA, "vectors")
        total = sum(seconds(lambda: optimizer.step(x, x), clock)[0] for _ in range(steps))
    return shares.spent["vectors"] / total
