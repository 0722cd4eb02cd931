"""Seconds of training until USPS reaches test error 13, against PyTorchHessianFree (a clone of it given by `--peer`).

Both run Martens' method in float32: CG, warm start 0.95, relative progress 5e-4, at most 250 iterations, backtracking,
Levenberg-Marquardt damping, line search. Each uses its own code for all else. Both have the same initial weights and
batches of a seed (1000 fresh cases a step for objective, gradient and curvature), the same objective (logistic loss
summed over pixels, mean over cases, without weight decay, which the peer leaves to its users), and a clock that stops
while the test error is evaluated after each step. The first lambda is the same too: the defaults of both, 45 and 1,
have separate races, and "best" compares each side at its better one. (At 45 the peer's lambda grows without bound: its
reduction ratio is taken from the warm start to the end of CG, lambda's term included, and is negative at every step.)

The peer's `get_preconditioner` has no return statement, so that its CG runs without preconditioner. It runs in two
forms: as in its README, without one, and without the cost of building what it would discard; and with the defect fixed,
with Martens' preconditioner from its own functions (`diag_EF_backpack` and `diag_to_preconditioner`) and the diagonal
scaled to the objective above.

hfbench runs in float32 and, if this machine can, with products in bfloat16. Both run also with the Kronecker factors
`kfac` instead of Martens' diagonal, which the peer's method does not have.

Ratios are to hfbench's seconds with the same seed, as median and minimum over seeds. A side that does not reach the
target counts as the limit of 100 seconds.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from hfbench import HessianFree, registry
from hfbench.errors import ConfigError
from hfbench.parts.protocols import BatchPlan, Task
from hfbench.runs.random_streams import generator

from .runner import Options, Row
from .timing import clock
from .training import Course, Outcome, Step

TITLE = "Time to test error 13 on USPS, against PyTorchHessianFree"
COLUMNS = {
    "damping": "lambda",
    "side": "by",
    "reached": "arrived",
    "seconds": "seconds",
    "ratio": "times hfbench's",
    "least": "least",
    "steps": "steps",
    "inner": "inner",
    "note": "note",
}
TASK, CASES, LIMIT = "usps", 1000, 100.0
TARGET, QUICK_TARGET = 13.0, 60.0
PEER = "PyTorchHessianFree"
KFAC, LOW = {"preconditioner": {"use": "kfac", "memory": 0.9}}, {"precision": "bfloat16"}
OURS: dict[str, dict[str, Any]] = {  # settings beside those of `ours`
    "hfbench": {},
    "hfbench, bfloat16": LOW,
    "hfbench, kfac": KFAC,
    "hfbench, kfac, bfloat16": KFAC | LOW,
}


@dataclass(frozen=True)
class Contestant:
    """A model with fresh weights, its step, and the CG iterations it has made."""

    model: nn.Module
    step: Step
    inner: Callable[[], int]


Maker = Callable[[Task, int, float], Contestant]  # task, seed, lambda_0
Run = tuple[Outcome, int]  # and its CG iterations


def check_options(options: Options) -> None:
    """Raises ConfigError for a `--peer` folder without the peer."""
    if options.peer is not None:
        load_peer(options.peer)


def rows(options: Options) -> Iterator[Row]:
    target, seeds, dampings = (QUICK_TARGET, 1, (45.0,)) if options.quick else (TARGET, 5, (45.0, 1.0))
    sides, notes = dict[str, Maker](), dict[str, str]()
    for side, settings in OURS.items():
        try:
            ours(registry.build("task", TASK), 0, 1.0, settings)
            sides[side] = partial(ours, settings=settings)
        except ConfigError as error:
            notes[side] = str(error)
    if options.peer is not None:
        sides |= peers(options.peer)
    else:
        notes[PEER] = "give --peer PATH"
    races = dict[float, dict[str, list[Run]]]()
    for damping in dampings:
        ran = races[damping] = race(sides, damping, range(seeds), target, options)
        for side in sides:
            yield {"damping": f"{damping:g}", "side": side, **summary(ran[side], ran["hfbench"])}
    for side in sides if len(races) > 1 else ():
        yield {"damping": "best", "side": side, **summary(better(races, side), better(races, "hfbench"))}
    for side, note in notes.items():
        yield {"side": side, "note": note}


def race(
    sides: Mapping[str, Maker], damping: float, seeds: range, target: float, options: Options
) -> dict[str, list[Run]]:
    """The runs of each side, one for each seed; the order of the sides changes with every seed."""
    ran: dict[str, list[Run]] = {side: [] for side in sides}
    task: Task = registry.build("task", TASK)
    plan, names = BatchPlan(CASES, CASES, "random", "fixed"), list(sides)
    for seed in seeds:
        data = task.load(generator(seed, "split"), options.data)
        course = Course(task, data, plan, seed, target, LIMIT, clock(options.threads))
        for i in range(len(names)):
            side = names[(seed + i) % len(names)]
            contestant = sides[side](task, seed, damping)
            outcome = course.run(contestant.model, contestant.step)
            ran[side].append((outcome, contestant.inner()))
    return ran


def better(races: Mapping[float, Mapping[str, list[Run]]], side: str) -> list[Run]:
    """The runs of a side from its better lambda."""
    return min((ran[side] for ran in races.values()), key=median_seconds)


def median_seconds(runs: list[Run]) -> float:
    return statistics.median(outcome.seconds for outcome, _ in runs)


def summary(runs: list[Run], base: list[Run]) -> Row:
    """Medians over seeds; ratios of each seed's seconds to those of `base`, if that is another side."""
    row: Row = {
        "reached": f"{sum(outcome.reached for outcome, _ in runs)}/{len(runs)}",
        "seconds": median_seconds(runs),
        "steps": statistics.median_low(outcome.steps for outcome, _ in runs),
        "inner": statistics.median_low(inner for _, inner in runs),
    }
    if runs is not base:
        ratios = [outcome.seconds / ours.seconds for (outcome, _), (ours, _) in zip(runs, base, strict=True)]
        row |= {"ratio": statistics.median(ratios), "least": min(ratios)}
    return row


# ---------------------------------------------------------------- ours


def ours(task: Task, seed: int, damping: float, settings: Mapping[str, Any]) -> Contestant:
    """Our contestant. Raises ConfigError if this machine has no products in the precision of the settings."""
    optimizer = HessianFree(
        task.model(generator(seed, "weights")),
        loss=task.loss,
        solver="cg",
        globalization={"initial_damping": damping},
        seed=generator(seed, "probes"),
        **{"preconditioner": "martens", **settings},
    )
    made = []

    def step(inputs: Tensor, targets: Tensor, curvature: tuple[Tensor, Tensor] | None) -> None:
        made.append(optimizer.step(inputs, targets, curvature).inner_iterations)

    return Contestant(optimizer.model, step, lambda: sum(made))


# ---------------------------------------------------------------- the peer


def load_peer(path: Path) -> tuple[Any, Any]:
    """The peer's modules `hessianfree.optimizer` and `hessianfree.preconditioners`, from the given folder only."""
    if not (path / "hessianfree" / "optimizer.py").is_file():
        raise ConfigError(
            f"--peer: must be a folder with the source of {PEER}, but {path} has no hessianfree/optimizer.py: clone "
            "github.com/ltatzel/PyTorchHessianFree and give that folder."
        )
    for name in [name for name in sys.modules if name.partition(".")[0] == "hessianfree"]:
        del sys.modules[name]
    sys.path.insert(0, str(path.resolve()))
    try:
        optimizer = importlib.import_module("hessianfree.optimizer")
        preconditioners = importlib.import_module("hessianfree.preconditioners")
        _ = optimizer.HessianFree, preconditioners.diag_EF_backpack, preconditioners.diag_to_preconditioner
    except (ImportError, AttributeError) as error:
        missing = "; it needs backpack-for-pytorch: pip install -e '.[bench]'" if "backpack" in str(error) else ""
        raise ConfigError(f"--peer: {path} must hold {PEER} in working order, but: {error}{missing}.") from error
    finally:
        sys.path.remove(str(path.resolve()))
    return optimizer, preconditioners


def peers(path: Path) -> dict[str, Maker]:
    """The peer as in its README, and with its preconditioner fixed."""
    optimizer, preconditioners = load_peer(path)

    def plain(task: Task, seed: int, damping: float) -> Contestant:
        return theirs(optimizer, None, task, seed, damping)

    def mended(task: Task, seed: int, damping: float) -> Contestant:
        return theirs(optimizer, preconditioners, task, seed, damping)

    return {PEER: plain, "its defect mended": mended}


def theirs(optimizer: Any, preconditioners: Any, task: Task, seed: int, damping: float) -> Contestant:
    model = task.model(generator(seed, "weights"))
    peer, total = optimizer.HessianFree(model.parameters(), damping=damping), nn.BCEWithLogitsLoss(reduction="sum")

    def step(inputs: Tensor, targets: Tensor, curvature: tuple[Tensor, Tensor] | None) -> None:
        def forward() -> tuple[Tensor, Tensor]:
            z = model(inputs)
            return total(z, targets) / len(inputs), z

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of every step that it rejects
            M = None
            if preconditioners is not None:
                squares = preconditioners.diag_EF_backpack(model, total, inputs, targets, "sum")
                M = preconditioners.diag_to_preconditioner(squares / len(inputs), peer.param_groups[0]["damping"])
                peer.zero_grad()
            peer.step(forward, M_func=M)

    return Contestant(model, step, lambda: sum(peer.state["num_cg_iters"]))
