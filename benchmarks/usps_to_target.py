"""Seconds of training clock until USPS reaches a test error, with 1000-case batches.

    HFBENCH_DATA=… python benchmarks/usps_to_target.py [--target 7.0] [--solver lsmr] [--preconditioner chapelle-erhan]

The clock counts the optimiser's steps and stands still while the test error is evaluated.
"""

from __future__ import annotations

import argparse

import torch

from hfbench import HessianFree, batches, registry
from hfbench.clock import Stopwatch
from hfbench.evaluation import mean_error
from hfbench.protocols import BatchPlan
from hfbench.streams import generator


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--target", type=float, default=7.0)
    options.add_argument("--solver", default="lsmr")
    options.add_argument("--preconditioner", default="chapelle-erhan")
    options.add_argument("--cases", type=int, default=1000)
    options.add_argument("--order", default="random", choices=["random", "cyclic"])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--limit", type=float, default=300.0, metavar="SECONDS")
    given = options.parse_args()
    torch.set_num_threads(given.threads)

    task = registry.build("task", "usps")
    data = task.load(generator(given.seed, "split"))
    model = task.model(generator(given.seed, "weights"))
    optimizer = HessianFree(
        model,
        loss=task.loss,
        solver=given.solver,
        preconditioner=given.preconditioner,
        decay=task.decay,
        decay_mask=task.decay_mask,
        seed=generator(given.seed, "probes"),
    )
    plan = BatchPlan(given.cases, given.cases, given.order, "fixed")
    clock, total = Stopwatch(), len(data.train)
    error = mean_error(model, task, data.test)
    print(f"{'step':>5} {'seconds':>8} {'passes':>8} {'products':>9} {'test error':>11} {'inner':>6} {'lambda':>9}")
    while error > given.target and clock.seconds < given.limit:
        with clock:
            indices, _ = batches.draw(
                plan, optimizer.iteration + 1, total, generator(given.seed, f"batches/{optimizer.iteration + 1}")
            )
            result = optimizer.step(data.train.inputs[indices], data.train.targets[indices])
        error = mean_error(model, task, data.test)
        passes = optimizer.ledger.work / total
        if result.iteration % 10 == 0 or error <= given.target:
            print(
                f"{result.iteration:>5} {clock.seconds:>8.1f} {passes:>8.1f} {optimizer.ledger.products:>9.0f} "
                f"{error:>11.3f} {result.inner_iterations:>6} {result.damping:>9.3g}",
                flush=True,
            )
    reached = f"reached {given.target}" if error <= given.target else f"did not reach {given.target}"
    parts = f"{given.solver} + {given.preconditioner}, {given.cases} cases"
    print(f"{parts}, {given.threads} threads, seed {given.seed}: {reached} after {clock.seconds:.1f} s")


if __name__ == "__main__":
    main()
