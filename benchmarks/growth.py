"""Growth of the cost of an outer iteration: with cases, with parameters, and with seeds.

The unit is one iteration of the USPS network with ten inner iterations of CG, Martens' preconditioner, backtracking and
line search. Work is counted in multiply-adds of matrix products and convolutions by PyTorch's counter, not by hfbench's
ledger. Seconds are medians of rounds in which all sizes take turns. The layers grow in width by a common factor, so
that their parameters grow nearly by its square. Each seed costs one iteration. The exponent beta of cost ∝ size^beta is
fitted by least squares on the logarithms; 1 is linear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy

from torch.utils.flop_counter import FlopCounterMode

from hfbench import HessianFree
from hfbench.runs.random_streams import generator

from .problems import Problem, problem
from .runner import Options, Row
from .timing import clock, exponent, take_turns

TITLE = "How an outer iteration's cost grows"
COLUMNS = {
    "axis": "with",
    "size": "size",
    "work": "work (1e9)",
    "seconds": "seconds",
    "work_exponent": "beta, work",
    "seconds_exponent": "beta, seconds",
}
INNER = 10
LAYERS = (400, 200, 100, 50, 25)


def rows(options: Options) -> Iterator[Row]:
    few = options.quick
    cases = (50, 200) if few else (500, 1000, 2000, 4000, 8000)
    widths = (0.5, 1.0) if few else (0.5, 1.0, 1.5, 2.0, 3.0)
    seeds = (1, 2) if few else (1, 2, 4, 8)
    yield from axis("cases", {n: iteration(problem("usps", n)) for n in cases}, options)
    yield from axis("parameters", dict(of_width(width, 100 if few else 1000) for width in widths), options)
    one = problem("usps", 100 if few else 1000)
    yield from axis("seeds", {k: several(one, k) for k in seeds}, options)


def axis(name: str, sides: Mapping[int, Callable[[], object]], options: Options) -> Iterator[Row]:
    """A row for each size, and one with the exponents fitted to them."""
    work = {size: multiply_adds(call) / 1e9 for size, call in sides.items()}
    named = {str(size): call for size, call in sides.items()}
    least, budget = (2, 0.1) if options.quick else (5, 10.0)
    found = take_turns(named, least=least, budget=budget, warm_up=1, clock=clock(options.threads))
    seconds = {size: found.median(str(size)) for size in sides}
    for size in sides:
        yield {"axis": name, "size": size, "work": work[size], "seconds": seconds[size]}
    fitted = {key: exponent(sides, costs.values()) for key, costs in (("work", work), ("seconds", seconds))}
    yield {"axis": f"{name}, fitted", **{f"{key}_exponent": beta for key, beta in fitted.items()}}


def of_width(width: float, cases: int) -> tuple[int, Callable[[], object]]:
    """The number of parameters of the USPS network, its layers `width` times as wide, and an iteration of it."""
    one = problem("usps", cases, layers=[round(width * units) for units in LAYERS])
    return sum(p.numel() for p in one.model.parameters()), iteration(one)


def iteration(one: Problem, seed: int = 0) -> Callable[[], None]:
    """An outer iteration that is the same every time: its changes are undone, and one-time work is done before."""
    optimizer = HessianFree(
        one.model,
        one.loss,
        solver="cg",
        preconditioner="martens",
        rules=[{"use": "fixed-iterations", "iterations": INNER}],
        max_inner=INNER,
        seed=generator(seed, "probes"),
    )
    weights, state = [p.detach().clone() for p in one.model.parameters()], deepcopy(optimizer.state_dict())

    def iterate() -> None:
        optimizer.step(one.inputs, one.targets)
        optimizer.load_state_dict(state)
        for p, was in zip(one.model.parameters(), weights, strict=True):
            p.data.copy_(was)

    iterate()
    return iterate


def several(one: Problem, seeds: int) -> Callable[[], None]:
    """An iteration of each seed."""
    iterations = [iteration(one, seed) for seed in range(seeds)]

    def iterate() -> None:
        for each in iterations:
            each()

    return iterate


def multiply_adds(call: Callable[[], object]) -> float:
    """Multiply-adds of a call; PyTorch counts an addition and a multiplication as two."""
    with FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops() / 2)
