"""GPU: a product against its matrix products, and an inner iteration against its product.

The network is MNIST's. The floor is that of the benchmark `product`, in the precision of the row, captured as a CUDA
graph, so that launches take no time. The peak is the rate of one large square product in that precision; the product's
operations are given as a share of it. "launched" is the product launched kernel by kernel, over the replayed product
(`hfbench/curvature/cuda_graphs.py`). The columns of the solvers are an inner iteration over the product, with a
diagonal preconditioner in the flat layout, and numbers read as in a solve. Times are medians between device events.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from hfbench import registry
from hfbench.curvature.dense_chain import Chain
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.inner_solve.system import GaussNewtonSystem
from hfbench.linalg.precision import arithmetic, available, precision_of
from hfbench.linalg.vector import Vector
from hfbench.parts.protocols import InnerSolver
from hfbench.solvers.preconditioners.diagonal import Diagonal

from .floors import floor
from .problems import Problem, problem
from .runner import Options, Row

TITLE = "On a GPU: a product against its matrix products, an inner iteration against its product"
COLUMNS = {
    "precision": "precision",
    "cases": "cases",
    "floor": "floor ms",
    "product": "product ms",
    "rate": "floor / prod.",
    "share": "of peak",
    "launched": "launched",
    "cg": "cg",
    "lsmr": "lsmr",
    "minres": "minres",
}
PRECISIONS = ("float32", "tf32", "bfloat16")
CASES = (500, 1000, 2000, 4000, 8192, 16384)
FEW = (500, 8192)  # with --quick
SOLVERS = ("cg", "lsmr", "minres")
ROUNDS, STEPS = 7, 20
SQUARE = 8192


def check_options(options: Options) -> None:
    """Raises ConfigError if there is no GPU."""
    if not torch.cuda.is_available():
        raise ConfigError("gpu: this benchmark needs a GPU, but PyTorch finds none; name the others.")


def rows(options: Options) -> Iterator[Row]:
    for name in (precision for precision in PRECISIONS if precision in available(torch.zeros(1, device="cuda"))):
        for cases in FEW if options.quick else CASES:
            yield compare(name, cases)


@torch.no_grad()
def compare(precision: str, cases: int) -> Row:
    """Medians over rounds in which floor, product and iterations take turns."""
    one = on_gpu(problem("mnist", cases))
    at = Linearisation(one.model, one.loss, one.inputs, one.targets, precision=precision, layout="flat")
    v = at.layout.pack(one.v)
    calls: dict[str, Callable[[], object]] = {
        "floor": recorded(floor_in(precision, one)),
        "product": lambda: at.gauss_newton(v),
        "launched": launched(at, v),
    }
    for name in SOLVERS:
        iterations = states(name, at)
        calls[name] = partial(next, iterations)
    for call in calls.values():
        for _ in range(4):
            call()
    found = {name: [milliseconds(call) for _ in range(ROUNDS)] for name, call in calls.items()}
    ms = {name: statistics.median(times) for name, times in found.items()}
    share = operations(one) / ms["product"] / peak(precision)
    times = {"floor": ms["floor"], "product": ms["product"], "rate": ms["floor"] / ms["product"], "share": share}
    over = {name: ms[name] / ms["product"] for name in ("launched", *SOLVERS)}
    return {"precision": precision, "cases": cases, **times, **over}


def on_gpu(one: Problem) -> Problem:
    v = Vector(block.cuda() for block in one.v)
    return Problem(one.task, one.model.cuda(), one.loss, one.inputs.cuda(), one.targets.cuda(), v)


def milliseconds(call: Callable[[], object], times: int = STEPS) -> float:
    """Milliseconds of one call on the device, from many calls in a row."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    begin.record()
    for _ in range(times):
        call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / times


def floor_in(precision: str, one: Problem) -> Callable[[], None]:
    """The unavoidable matrix products in the precision."""
    told = precision_of(precision, one.v[0])
    model = one.model if told.dtype == torch.float32 else problem("mnist", 1).model.to("cuda", told.dtype)
    products = floor(model, one.inputs.to(told.dtype))

    def call() -> None:
        with arithmetic(told, one.inputs.device):
            products()

    return call


def recorded(call: Callable[[], None]) -> Callable[[], None]:
    """The call, captured as a CUDA graph."""
    call()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def launched(at: Linearisation, v: Vector) -> Callable[[], object]:
    """The product, its kernels launched one by one."""
    recorded: Any = at.kept_cast if at.casts else at.kept
    blocks = at.layout.unpack(v)

    def call() -> Vector:
        with arithmetic(at.precision, at.inputs.device):
            HJv: Tensor = at.loss_at.hessian(Chain.jvp(recorded, blocks))
            return at.layout.pack(Chain.vjp(recorded, HJv.div_(at.n)))

    return call


def states(name: str, at: Linearisation) -> Iterator[Any]:
    """An endless solve of a damped system."""
    system = GaussNewtonSystem(at, at.gradient, 1.0, (0.0,) * len(at.blocks), shares_cases=True)
    M = Diagonal(Vector(block.abs() for block in at.gradient), system.shift, 0.75)
    solver: InnerSolver = registry.build("solver", name)
    while True:
        yield from islice(solver.iterates(system, None, M), 400)


def operations(one: Problem) -> float:
    """Multiplications and additions of a product, in 10⁹, counted in its floor."""
    sizes = [p.numel() for p in one.model.parameters() if p.dim() == 2]
    return 2 * len(one.inputs) * (4 * sum(sizes) - 2 * sizes[0]) / 1e9


def peak(precision: str) -> float:
    """10⁹ operations in a millisecond of one large square product."""
    told = precision_of(precision, torch.zeros(1, device="cuda"))
    a, b = (torch.randn(SQUARE, SQUARE, device="cuda", dtype=told.dtype) for _ in range(2))
    with arithmetic(told, a.device):
        torch.mm(a, b)
        return 2 * SQUARE**3 / 1e9 / statistics.median(milliseconds(lambda: torch.mm(a, b), 3) for _ in range(5))
