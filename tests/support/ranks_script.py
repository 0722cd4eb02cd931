"""What two ranks of a gloo group do, beside one process that has all cases; run by torchrun, and told in JSON."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

import hfbench
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.linalg.data_parallel import RankGroup

STEPS = 10
CASES = 61
PARTS = [slice(0, 23), slice(23, CASES)]  # of ranks 0 and 1
KEYS = ("objective_before", "rho", "next_damping", "step_length", "variance_l1", "variance_inner", "q")


def model(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 9), nn.Sigmoid(), nn.Linear(9, 4), nn.Tanh(), nn.Linear(4, 12)).to(dtype)


def data(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    x = torch.rand(CASES, 12, generator=stream, dtype=torch.float64).to(dtype)
    return x, (x > 0.5).to(dtype)


def trained(group: Any, rows: slice, curvature: bool, settings: dict[str, Any]) -> dict[str, Any]:
    """Ten steps on the rows, and what they met."""
    net, (x, t) = model(), data()
    optimizer = hfbench.HessianFree(net, decay=1e-3, process_group=group, rules=RULES, **settings)
    other = (x[rows].flip(1), t[rows].flip(1)) if curvature else None
    evidence = ("variance_l1", "variance_inner")
    results = [asdict(optimizer.step(x[rows], t[rows], other, evidence)) for _ in range(STEPS)]
    return {
        "trace": [[row[key] for key in KEYS] for row in results],
        "inner": [row["inner_iterations"] for row in results],
        "weights": torch.cat([p.detach().reshape(-1) for p in net.parameters()]).tolist(),
        "products": optimizer.ledger.products,
        "work": optimizer.ledger.work,
    }


# A Krylov space that is exhausted goes on in directions that are rounding alone, and no two sums round alike.
RULES = [{"use": "residual", "rtol": 1e-6}]
SETTINGS: dict[str, dict[str, Any]] = {
    "cg": {"solver": "cg", "preconditioner": "martens"},
    "lsmr": {"solver": "lsmr", "preconditioner": "chapelle-erhan"},
    "lsqr": {"solver": "lsqr", "preconditioner": {"use": "kfac", "memory": 0.5}},
    "minres": {"solver": "minres", "preconditioner": "exact-diagonal"},
    "flat": {"solver": "lsmr", "preconditioner": "chapelle-erhan", "layout": "flat", "chunk": 10},
}


@contextmanager
def counted() -> Iterator[list[int]]:
    """The bytes that this rank gives to every collective."""
    sent: list[int] = []
    names = ("all_reduce", "all_gather")
    before = {name: getattr(distributed, name) for name in names}

    def reduce(tensor: Tensor, **more: Any) -> Any:
        sent.append(tensor.numel() * tensor.element_size())
        return before["all_reduce"](tensor, **more)

    def gather(rows: list[Tensor], tensor: Tensor, **more: Any) -> Any:
        sent.append(tensor.numel() * tensor.element_size())
        return before["all_gather"](rows, tensor, **more)

    distributed.all_reduce, distributed.all_gather = reduce, gather
    try:
        yield sent
    finally:
        for name, function in before.items():
            setattr(distributed, name, function)


def products(group: Any, rows: slice) -> dict[str, Any]:
    """The bytes of one product of each kind, and of a Golub-Kahan step's two norms."""
    net, (x, t) = model(), data()
    at = Linearisation(net, "logistic", x[rows], t[rows], ranks=RankGroup(group, torch.device("cpu")))
    v = at.gradient
    _ = at.loss_at
    found: dict[str, Any] = {"parameters": 8 * v.numel()}
    for name, do in {
        "gauss_newton": lambda: at.gauss_newton(v),
        "jvp": lambda: at.jvp(v),
        "vjp": lambda: at.vjp(at.residual),
        "norm": lambda: at.share.residual(at.residual, v).norm(),
    }.items():
        with counted() as sent:
            do()
        found[name] = sent
    return found


def refused(group: Any, rank: int) -> dict[str, str]:
    """What is said on this rank of things that are wrong on rank 1 alone, and whether the ranks go on after it."""
    x, t = (one[PARTS[rank]] for one in data())
    wrong = rank == 1
    optimizer = hfbench.HessianFree(model(), process_group=group)
    tries = {
        "weights": lambda: hfbench.HessianFree(model(seed=rank), process_group=group),
        "settings": lambda: hfbench.HessianFree(model(), max_inner=10 + rank, process_group=group),
        "dtype": lambda: hfbench.HessianFree(
            model(dtype=torch.float32 if wrong else torch.float64), process_group=group
        ),
        "inputs": lambda: optimizer.step(x[:0] if wrong else x, t[:0] if wrong else t),
        "targets": lambda: optimizer.step(x, t - 3 if wrong else t),
        "group": lambda: hfbench.HessianFree(model(), process_group="world"),
    }
    told = {}
    for name, do in tries.items():
        try:
            do()
            told[name] = ""
        except ConfigError as error:
            told[name] = str(error)
    told["after"] = str(optimizer.step(x, t).iteration)
    return told


def main(out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    group, rank = distributed.group.WORLD, distributed.get_rank()
    found: dict[str, Any] = {"products": products(group, PARTS[rank]), "refused": refused(group, rank)}
    for name, settings in SETTINGS.items():
        for curvature in (False, True):
            key = f"{name}-{'two' if curvature else 'one'}"
            found[key] = trained(group, PARTS[rank], curvature, settings)
            found[f"{key}-alone"] = trained(None, slice(0, CASES), curvature, settings)
    out.with_suffix(f".{rank}").write_text(json.dumps(found))
    del group
    gc.collect()  # the optimizers hold it in cycles, and its threads must end before Python does
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
