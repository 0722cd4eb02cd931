"""Gauss-Newton products of other packages on the same network and tensors; equal answers are checked first.

Every side may cache between products what its interface allows, and gets its vector in its preferred form:

    hfbench      the recorded map u ↦ Jᵀu, and its transpose
    BackPACK     `ggn_vector_product_from_plist`, what PyTorchHessianFree calls: a recorded forward pass with its loss
    curvlinops   `GGNLinearOperator`, its check for determinism off
    torch.func   forward over reverse: `jvp` of the network, of the loss's gradient, `vjp` of the network
    func.linearize
                 the same with `linearize` and `vjp` of the network taken once and kept
    func + compile
                 forward over reverse under `torch.compile`, compiled before the clock starts

Beside the tasks' networks there are common ones (`benchmarks/networks.py`): three convolutions of stride 2 (strided),
LeNet with average pooling, a coloured network with ReLU and max pooling, a residual block with group normalisation, two
layers of a transformer, and a GRU. Where kernels of convolutions are nearly all, as with max pooling, there is
little to gain.

Ratios are of their time to hfbench's, medians of rounds in which all take turns. A package that is not installed is
reported as missing; `pip install -e '.[bench]'` installs them.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp, linearize, vjp

import hfbench
from hfbench.errors import HfbenchError
from hfbench.linalg.vector import Vector

from .networks import NETWORKS
from .problems import Problem, problem, sizes_of
from .runner import Options, Row
from .timing import clock, take_turns

TITLE = "A Gauss-Newton product by other packages"
COLUMNS = {
    "task": "network",
    "cases": "cases",
    "side": "by",
    "milliseconds": "ms",
    "ratio": "times hfbench's",
    "low": "25 %",
    "high": "75 %",
    "note": "note",
}
TASKS = ("curves", "mnist", "usps", "mnist-conv", "addition", *NETWORKS)
CASES = (250, 1000, 4000)
FEW = (100,)  # with --quick
TOLERANCE = 1e-4  # of ‖theirs - ours‖/‖ours‖, in float32
LOSSES: dict[str, Callable[[], nn.Module]] = {  # their sums over all outputs, and how often they hold ours
    "logistic": lambda: nn.BCEWithLogitsLoss(reduction="sum"),
    "least-squares": lambda: nn.MSELoss(reduction="sum"),
}
TWICE = {"logistic": 1, "least-squares": 2}

Product = Callable[[], Sequence[Tensor]]
Maker = Callable[[Problem], Product]


class Missing(Exception):
    """A side that this machine cannot run, with the reason."""


class WrongAnswerError(HfbenchError, ArithmeticError):
    """A peer multiplied by another matrix, so that its time is meaningless."""


def rows(options: Options) -> Iterator[Row]:
    for task in TASKS:
        for cases in sizes_of(task, FEW if options.quick else CASES):
            yield from compare(problem(task, cases), options)


def compare(one: Problem, options: Options, makers: Mapping[str, Maker] | None = None) -> Iterator[Row]:
    """A row for hfbench and for each peer. Raises WrongAnswerError if a peer's product differs."""
    sides: dict[str, Product] = {"hfbench": ours(one)}
    notes = {}
    for name, make in (PEERS if makers is None else makers).items():
        if options.quick and make is compiled:
            notes[name] = "not with --quick"
            continue
        try:
            sides[name] = make(one)
            check(name, one, sides[name](), sides["hfbench"]())
        except Missing as missing:
            notes[name] = str(missing)
            sides.pop(name, None)
    least, budget = (3, 0.1) if options.quick else (7, 5.0)
    found = take_turns(sides, least=least, budget=budget, clock=clock(options.threads))
    for name in sides:
        ratio = found.ratio(name, "hfbench")
        times: Row = {"milliseconds": 1e3 * found.median(name)}
        if name != "hfbench":
            times |= {"ratio": ratio.median, "low": ratio.low, "high": ratio.high}
        yield {"task": one.task, "cases": len(one.inputs), "side": name, **times}
    for name, note in notes.items():
        yield {"task": one.task, "cases": len(one.inputs), "side": name, "note": note}


def check(name: str, one: Problem, theirs: Sequence[Tensor], ours: Sequence[Tensor]) -> None:
    """Raises WrongAnswerError unless ‖theirs - ours‖ <= 1e-4 ‖ours‖."""
    expected = Vector(ours)
    error = (Vector(block.detach() for block in theirs) - expected).norm() / expected.norm()
    if not error <= TOLERANCE:
        raise WrongAnswerError(
            f"{name} must multiply by the same matrix as hfbench to {TOLERANCE:g}, but on {one.task} their products "
            f"differ by {error:.2g} of their norm."
        )


# ---------------------------------------------------------------- the sides


def ours(one: Problem) -> Product:
    at = hfbench.linearize(one.model, one.loss, one.inputs, one.targets)
    return lambda: at.gauss_newton(one.v)


def backpack(one: Problem) -> Product:
    ggnvp = _installed("backpack.hessianfree.ggnvp").ggn_vector_product_from_plist
    outputs = one.model(one.inputs)
    loss = _loss(one)(outputs)
    parameters, v = list(one.model.parameters()), list(one.v)
    return lambda: ggnvp(loss, outputs, parameters, v)


def curvlinops(one: Problem) -> Product:
    operator = _installed("curvlinops").GGNLinearOperator
    parameters, scale = list(one.model.parameters()), 1 / (TWICE[one.loss] * len(one.inputs))
    data = [(one.inputs, one.targets)]
    G = operator(one.model, LOSSES[one.loss](), parameters, data, check_deterministic=False)
    v = [scale * block for block in one.v]  # its loss is a sum; the vector is scaled beforehand, off the clock
    return lambda: G @ v


def forward_over_reverse(one: Problem) -> Product:
    product, weights, v = _functional(one)
    return lambda: list(product(weights, v).values())


def linearised(one: Problem) -> Product:
    loss, weights, network = _loss(one), _weights(one), _network(one)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Attempted to insert a get_attr Node", UserWarning)  # torch's own affair
        z, push = linearize(network, weights)
    pull, slope, v = vjp(network, weights)[1], grad(loss), dict(zip(weights, one.v, strict=True))
    return lambda: list(pull(jvp(slope, (z,), (push(v),))[1])[0].values())


def compiled(one: Problem) -> Product:
    product, weights, v = _functional(one)
    fast = torch.compile(product)
    try:
        fast(weights, v)
    except Exception as error:  # whatever a compiler that is not there, or does not like the network, raises
        raise Missing(f"torch.compile failed: {type(error).__name__}") from error
    return lambda: list(fast(weights, v).values())


PEERS: dict[str, Maker] = {
    "BackPACK": backpack,
    "curvlinops": curvlinops,
    "torch.func": forward_over_reverse,
    "func.linearize": linearised,
    "func + compile": compiled,
}


# ---------------------------------------------------------------- what they are made of

Weights = dict[str, Tensor]


def _functional(one: Problem) -> tuple[Callable[[Weights, Weights], Weights], Weights, Weights]:
    """(w, v) ↦ G v at w as a user of torch.func writes it, w, and v."""
    loss, network, weights = _loss(one), _network(one), _weights(one)

    def product(w: Weights, v: Weights) -> Weights:
        z, Jv = jvp(network, (w,), (v,))[:2]
        HJv = jvp(grad(loss), (z,), (Jv,))[1]
        Gv: Weights = vjp(network, w)[1](HJv)[0]
        return Gv

    return product, weights, dict(zip(weights, one.v, strict=True))


def _weights(one: Problem) -> Weights:
    return {name: p.detach() for name, p in one.model.named_parameters()}


def _network(one: Problem) -> Callable[[Weights], Tensor]:
    return lambda w: functional_call(one.model, w, (one.inputs,))


def _loss(one: Problem) -> Callable[[Tensor], Tensor]:
    """z ↦ (1/n) Σ_i loss_i by PyTorch's own loss."""
    total, scale = LOSSES[one.loss](), 1 / (TWICE[one.loss] * len(one.inputs))
    return lambda z: scale * total(z, one.targets)


def _installed(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Missing("not installed") from error
