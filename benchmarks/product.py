"""One Gauss-Newton product against its floor, the matrix products that it cannot avoid.

The floor consists of bare products of the same shapes on the model's own layer inputs (`benchmarks/floors.py`): up to
four for each dense layer or convolution, and for a recurrent layer at every time step. Product and floor take turns;
the ratio is the median over rounds. The excess above 1 is everything else: activations, pooling, the loss, autograd.
For the recurrent network on few cases it is most of the time.

A convolution's floor is made of PyTorch's kernels. Ours are faster where channels are few, as in `mnist-conv`, whose
ratio is below 1 for that reason.
"""

from __future__ import annotations

from collections.abc import Iterator

from hfbench.curvature.checked_linearisation import linearize

from .floors import floor
from .problems import problem, sizes_of
from .runner import Options, Row
from .timing import clock, take_turns

TITLE = "A Gauss-Newton product against its floor"
COLUMNS = {
    "task": "network",
    "cases": "cases",
    "product": "product ms",
    "floor": "floor ms",
    "ratio": "ratio",
    "low": "25 %",
    "high": "75 %",
}
TASKS = ("curves", "mnist", "usps", "mnist-conv", "addition", "strided", "average-pooled", "max-pooled", "residual")
CASES = (250, 500, 1000, 2000, 4000, 8000, 16000)
FEW = (50, 500)  # with --quick


def rows(options: Options) -> Iterator[Row]:
    for task in TASKS:
        for cases in sizes_of(task, FEW if options.quick else CASES):
            yield compare(task, cases, options)


def compare(task: str, cases: int, options: Options) -> Row:
    """Medians in milliseconds, and the ratio of product to floor."""
    one = problem(task, cases)
    at = linearize(one.model, one.loss, one.inputs, one.targets)
    sides = {"product": lambda: at.gauss_newton(one.v), "floor": floor(one.model, one.inputs)}
    least, budget = (3, 0.1) if options.quick else (9, 3.0)
    found = take_turns(sides, least=least, budget=budget, clock=clock(options.threads))
    ratio = found.ratio("product", "floor")
    times = {side: 1e3 * found.median(side) for side in sides}
    return {"task": task, "cases": cases, **times, "ratio": ratio.median, "low": ratio.low, "high": ratio.high}
