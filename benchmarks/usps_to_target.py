"""Seconds of training clock until USPS reaches a test error, with 1000-case batches.

    HFBENCH_DATA=… python benchmarks/usps_to_target.py [--target 7.0] [--solver lsmr] [--preconditioner chapelle-erhan]

The clock counts the optimiser's steps and stands still while the test error is evaluated. The gradient sees a fresh
random batch of 1000 cases at every step, the curvature a quarter of it, the share of Martens' code. By default the
settings are tuned to such batches (`TUNED`): Martens' own stop late and damp hard, which suits full gradients.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch

from hfbench import HessianFree, batches, registry
from hfbench.clock import Stopwatch
from hfbench.evaluation import mean_error
from hfbench.protocols import BatchPlan, Task
from hfbench.streams import generator

TUNED: dict[str, Any] = {
    "rules": [{"use": "relative-progress", "k_min": 3, "epsilon": 0.02}],
    "globalization": {"initial_damping": 5.0, "keep_start": 2},
}


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", type=float, default=7.0)
    parser.add_argument("--solver", default="lsmr")
    parser.add_argument("--preconditioner", default="chapelle-erhan")
    parser.add_argument("--exponent", type=float, default=0.9, help="the preconditioner's; 'identity' has none")
    parser.add_argument("--defaults", action="store_true", help="Martens' settings in place of the tuned ones")
    parser.add_argument("--cases", type=int, default=1000, help="of the gradient's batch")
    parser.add_argument("--curvature", type=float, default=0.25, help="the curvature's part of them")
    parser.add_argument("--order", default="random", choices=["random", "cyclic"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=float, default=300.0, metavar="SECONDS")
    return parser.parse_args()


def optimizer_for(task: Task, given: argparse.Namespace) -> HessianFree:
    preconditioner: dict[str, Any] = {"use": given.preconditioner}
    if given.preconditioner != "identity":
        preconditioner["exponent"] = given.exponent
    return HessianFree(
        task.model(generator(given.seed, "weights")),
        loss=task.loss,
        solver=given.solver,
        preconditioner=preconditioner,
        decay=task.decay,
        decay_mask=task.decay_mask,
        seed=generator(given.seed, "probes"),
        **({} if given.defaults else TUNED),
    )


def main() -> None:
    given = options()
    torch.set_num_threads(given.threads)
    task = registry.build("task", "usps")
    data = task.load(generator(given.seed, "split"))
    optimizer = optimizer_for(task, given)
    plan = BatchPlan(given.cases, round(given.curvature * given.cases), given.order, "fixed")
    inputs, targets = data.train.inputs, data.train.targets
    clock, total, error = Stopwatch(), len(data.train), float("inf")
    print(f"{'step':>5} {'seconds':>8} {'passes':>8} {'products':>9} {'test error':>11} {'inner':>6} {'lambda':>9}")
    while error > given.target and clock.seconds < given.limit:
        with clock:
            step = optimizer.iteration + 1
            cases, some = batches.draw(plan, step, total, generator(given.seed, f"batches/{step}"))
            curvature = None if some is cases else (inputs[some], targets[some])
            result = optimizer.step(inputs[cases], targets[cases], curvature)
        error = mean_error(optimizer.model, task, data.test)
        if step % 5 == 0 or error <= given.target:
            passes, products = optimizer.ledger.work / total, optimizer.ledger.products
            print(
                f"{step:>5} {clock.seconds:>8.1f} {passes:>8.1f} {products:>9.0f} "
                f"{error:>11.3f} {result.inner_iterations:>6} {result.damping:>9.3g}",
                flush=True,
            )
    reached = f"reached {given.target}" if error <= given.target else f"did not reach {given.target}"
    parts = f"{given.solver} + {given.preconditioner}, {plan.gradient} cases, curvature on {plan.curvature}"
    print(f"{parts}, {given.threads} threads, seed {given.seed}: {reached} after {clock.seconds:.1f} s")


if __name__ == "__main__":
    main()
