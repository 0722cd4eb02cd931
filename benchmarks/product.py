"""One Gauss-Newton product against the matrix products it cannot avoid, side by side in one process.

    python benchmarks/product.py [--task mnist] [--cases 1000 4000] [--threads 2] [--repeats 15]

The floor is, per dense layer with inputs a (n × i), weights W (o × i) and deltas d (n × o): V a and W Ra for J·v, and
dᵀa and Wᵀd for Jᵀ·u; the first layer needs neither W Ra nor Wᵀd. Product and floor take turns, so that a machine that
slows down slows both; the ratio is the median of the pairs'.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import hfbench
from hfbench import registry
from hfbench.streams import generator
from hfbench.vector import Vector


def floor(model: nn.Module, inputs: Tensor) -> Callable[[], None]:
    """The unavoidable products of one Gauss-Newton product, on the model's own layer inputs."""
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    activations: list[Tensor] = []
    hooks = [layer.register_forward_hook(lambda _, args, __: activations.append(args[0].detach())) for layer in layers]
    with torch.no_grad():
        model(inputs)
    for hook in hooks:
        hook.remove()
    weights = [layer.weight.detach() for layer in layers]
    directions = [torch.randn_like(weight) for weight in weights]
    deltas = [torch.randn(len(inputs), len(weight)) for weight in weights]

    def products() -> None:
        for i, (a, W, V, d) in enumerate(zip(activations, weights, directions, deltas, strict=True)):
            torch.mm(a, V.T)
            torch.mm(d.T, a)
            if i > 0:
                torch.mm(a, W.T)
                torch.mm(d, W)

    return products


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(task_name: str, cases: int, repeats: int) -> dict[str, float]:
    """Medians in milliseconds, and the median ratio of product to floor."""
    task = registry.build("task", task_name)
    model = task.model(generator(0, "weights"))
    features = next(module for module in model.modules() if isinstance(module, nn.Linear)).in_features
    inputs = torch.rand(cases, features, generator=generator(0, "inputs"))
    at = hfbench.linearize(model, task.loss, inputs, inputs)
    v = Vector(torch.randn(p.shape, generator=generator(0, "direction")) for p in model.parameters())
    unavoidable = floor(model, inputs)
    for _ in range(2):  # builds the graph, and warms up
        at.gauss_newton(v)
        unavoidable()
    pairs = [(seconds(lambda: at.gauss_newton(v)), seconds(unavoidable)) for _ in range(repeats)]
    product, least = (1e3 * statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    return {"cases": cases, "product_ms": product, "floor_ms": least, "ratio": ratio}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--task", default="mnist")
    options.add_argument("--cases", type=int, nargs="+", default=[1000, 4000])
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--repeats", type=int, default=15)
    options.add_argument("--json", metavar="FILE", help="also write the rows there")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    rows = [compare(given.task, cases, given.repeats) for cases in given.cases]
    print(f"{given.task}, {given.threads} threads: one Gauss-Newton product against its floor")
    print(f"{'cases':>8} {'product ms':>12} {'floor ms':>10} {'ratio':>7}")
    for row in rows:
        print(f"{row['cases']:>8} {row['product_ms']:>12.1f} {row['floor_ms']:>10.1f} {row['ratio']:>7.3f}")
    if given.json:
        with open(given.json, "w") as file:
            json.dump({"task": given.task, "threads": given.threads, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
