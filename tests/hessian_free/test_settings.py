"""Settings of the optimiser: what does not exist, fits no batch or lies out of range is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from support.small_steps import DTYPE, problem
from support.systems import inputs_for, network, targets_for
from torch import nn

from hfbench import HessianFree
from hfbench.errors import ConfigError, UnknownPartError
from hfbench.solvers.stopping import Residual


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"loss": "logstic"}, ConfigError, "did you mean 'logistic'"),
        ({"solver": "lsrm"}, UnknownPartError, "did you mean 'lsmr'"),
        ({"preconditioner": {"use": "martens", "exponnt": 1.0}}, ConfigError, "did you mean 'exponent'"),
        ({"rules": ["relativ-progress"]}, UnknownPartError, "relative-progress"),
        ({"globalization": {"warmstart": 0.9}}, ConfigError, "globalization.warmstart: .*did you mean 'warm_start'"),
        ({"decay_mask": "weight"}, ConfigError, "did you mean 'weights'"),
        ({"decay": math.inf}, ConfigError, "decay"),
        ({"max_inner": 0}, ConfigError, "max_inner: must be a whole number from 1, but got 0"),
        ({"right_hand_side": "resid"}, ConfigError, "right_hand_side: must be one of .*did you mean 'residual'"),
    ],
)
def test_settings_that_do_not_exist(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HessianFree(network((6, 4), 0), **settings)


def test_keywords_that_do_not_exist() -> None:
    with pytest.raises(
        ConfigError, match=r"lr: HessianFree has no learning rate, but got 0.1: leave it out\. Each step's"
    ):
        HessianFree(network((6, 4), 0), lr=0.1)
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentum'"):
        HessianFree(network((6, 4), 0), momentum=0.9)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("damping", r'globalization=\{"initial_damping": 1\.0\}'),
        ("initial_damping", r'globalization=\{"initial_damping": 1\.0\}'),
        ("line_search", r'globalization=\{"line_search": 1\.0\}'),
        ("weight_decay", r"decay=1\.0"),
    ],
)
def test_a_setting_under_another_name_is_pointed_to(name: str, given: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: .*give {given}"):
        HessianFree(network((6, 4), 0), **{name: 1.0})


def test_settings_that_fit_no_batch() -> None:
    model, x, t = problem()
    with pytest.raises(ConfigError, match="chunk"):
        HessianFree(model, chunk=0).step(x, t)
    with pytest.raises(ConfigError, match="right_hand_side"):
        HessianFree(model, solver="lsmr", right_hand_side="resid").step(x, t)
    with pytest.raises(ConfigError, match="two cases"):
        HessianFree(model).step(x[:1], t[:1], evidence=("variance_l1",))
    with pytest.raises(ConfigError, match="requires_grad"):
        HessianFree(nn.Tanh())


LOSS = "least-squares"
CHOICES = ("loss", "decay_mask", "right_hand_side", "layout", "precision")


def test_decay_by_name_is_that_of_each_parameter() -> None:
    """Against the ridge problem with a penalty of its own per parameter."""
    x, t = inputs_for(30, 4, 1), targets_for(LOSS, 30, 3, 2)
    model = nn.Linear(4, 3, dtype=DTYPE)
    settings = {"rules": [{"use": "residual", "rtol": 1e-12}], "globalization": {"initial_damping": 0.0}}
    optimizer = HessianFree(model, LOSS, preconditioner="identity", decay={"weight": 0.2, "bias": 0.5}, **settings)
    assert optimizer.mu_D == (0.2, 0.5)
    optimizer.step(x, t)
    augmented = torch.cat([x, torch.ones(30, 1, dtype=DTYPE)], 1)
    penalty = torch.diag(torch.tensor([0.2] * 4 + [0.5], dtype=DTYPE))
    ridge = torch.linalg.solve(augmented.T @ augmented / 30 + penalty, augmented.T @ t / 30)
    torch.testing.assert_close(torch.cat([model.weight.T, model.bias[None]]), ridge, rtol=1e-8, atol=1e-9)


def test_decay_by_name_leaves_out_what_is_not_named() -> None:
    model = network((4, 3, 2), 0)
    assert HessianFree(model, decay={}).mu_D == (0.0, 0.0, 0.0, 0.0)
    assert HessianFree(model, decay={"2.bias": 1}).mu_D == (0.0, 0.0, 0.0, 1.0)
    assert HessianFree(model, decay=0.1).mu_D == (0.1, 0.0, 0.1, 0.0)
    of_all = HessianFree(model, decay={name: 0.1 for name, _ in model.named_parameters()})
    assert of_all.mu_D == HessianFree(model, decay=0.1, decay_mask="all").mu_D


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": {"0.wieght": 0.1}}, r"decay\['0.wieght'\]: must name a trained.*did you mean '0.weight'.*known: 0"),
        ({"decay": {"0.weight": -1}}, r"decay\['0.weight'\]: must be a number in \[0, inf\), but got -1"),
        ({"decay": {"0.weight": 0.1}, "decay_mask": "all"}, "decay_mask: 'all' goes with one number"),
        ({"decay": "0.1"}, "decay: must be a number"),
        ({"decay": torch.nan}, "decay: must be a number"),
        ({"decay": [0.1]}, "decay: must be a number"),
        ({"seed": 1.5}, "seed: must be an int or a torch.Generator on the CPU.*got 1.5"),
        ({"seed": True}, "seed: must be an int"),
        ({"seed": 2**64}, "seed: must be .*, and an int must fit 64 bits, but got 18446744073709551616"),
        ({"max_inner": "10"}, "max_inner: must be a whole number from 1, but got '10'"),
        ({"max_inner": 10.0}, "max_inner: must be a whole number from 1, but got 10.0"),
        ({"chunk": 5.0}, "chunk: must be a whole number from 1, but got 5.0"),
        ({"chunk": "5"}, "chunk: must be a whole number from 1, but got '5'"),
        ({"rules": None}, r'rules: must be a list, such as \["relative-progress"\], but got None'),
        ({"rules": "residual"}, "rules: must be a list, .*but got 'residual': put a single rule in brackets"),
        ({"rules": {"use": "residual"}}, "rules: must be a list"),
        ({"rules": Residual()}, r"rules: must be a list, .*but got Residual\(rtol=0.01\)"),
        ({"rules": 3}, "rules: must be a list"),
        ({"rules": [3]}, "rules: must be the name of a rule"),
        ({"globalization": 3}, r"globalization: must be a table of settings, .*a Globalization, or None, but got 3"),
        ({"globalization": False}, "globalization: must be a table of settings"),
        ({"globalization": [("damping_growth", 2.0)]}, "globalization: must be a table of settings"),
        ({"decay": "0.1", "decay_mask": "all"}, "decay: must be a number"),
        ({"loss": ["softmax"]}, "loss: must be one of least-squares"),
        ({"solver": None}, "solver: must be the name of a solver"),
        ({"preconditioner": 3}, "preconditioner: must be the name of a preconditioner"),
        ({"layout": None}, "layout: must be one of structured, flat, but got None"),
        ({"precision": 32}, "precision: must be one of parameters, .*but got 32"),
        ({"rules": torch.tensor(2)}, "rules: must be a list"),
        ({"rules": np.array("cg")}, "rules: must be a list"),
        ({"rules": torch.tensor(2, device="meta")}, "rules: must be a list"),
        ({"max_inner": torch.tensor(2, device="meta")}, "max_inner: must be a whole number"),
        ({"decay": torch.tensor(0.1, device="meta")}, "decay: must be a number"),
        ({"globalization": {"warm_start": torch.tensor(0.1, device="meta")}}, "warm_start: must be a number"),
        ({"decay": {"": 0.1}}, r"decay\[''\]: must name a trained parameter"),
        ({"decay": {0: 0.1}}, r"decay\[0\]: must name a trained parameter"),
        ({"globalization": {"keep_start": 0}}, "globalization.keep_start: must lie in"),
        ({"globalization": {"max_tries": 10**400}}, "globalization.max_tries: must be a whole number of 64 bits"),
        *(({name: np.array([1, 2])}, f"{name}: must be one of") for name in CHOICES),
        ({"max_bytes": 4e9}, "max_bytes: must be a number of bytes"),
        ({"process_group": "gloo"}, "process_group: needs torch.distributed"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        HessianFree(network((4, 3, 2), 0), **settings)


def test_numbers_of_other_libraries_are_numbers() -> None:
    """The step is that of Python's own numbers, to the last bit."""
    ends = []
    for whole, real in (
        (int, float),
        (np.int64, np.float64),
        (torch.tensor, lambda number: torch.tensor(number).double()),
    ):
        model, x, t = problem()
        optimizer = HessianFree(
            model,
            rules=[{"use": "residual", "rtol": real(0.25)}],
            globalization={"initial_damping": real(0.5), "max_tries": whole(30)},
            decay={"0.weight": real(0.125)},
            seed=whole(3),
            max_inner=whole(7),
            chunk=whole(5),
            max_bytes=whole(10**9),
            preconditioner={"use": "chapelle-erhan", "probes": whole(2)},
        )
        optimizer.step(x, t)
        assert json.dumps(
            [optimizer.damping, optimizer.mu_D, optimizer.max_inner, optimizer.chunk, optimizer.max_bytes]
        )
        ends.append(list(model.parameters()))
    for others in ends[1:]:
        assert all(torch.equal(p, q) for p, q in zip(ends[0], others, strict=True))
    assert HessianFree(problem()[0], decay=np.float32(0.5)).mu_D[0] == 0.5


def test_closures_are_refused_with_what_to_call() -> None:
    model, x, t = problem()
    optimizer = HessianFree(model)
    message = r"closure: HessianFree takes none, .*call optimizer.step\(inputs, targets\), in Lightning"
    with pytest.raises(ConfigError, match=message):
        optimizer.step(closure=lambda: None)
    with pytest.raises(ConfigError, match=message):
        optimizer.step(x, t, closure=lambda: None)
    with pytest.raises(TypeError, match=r"HessianFree.step\(\) got an unexpected keyword argument 'closur'"):
        optimizer.step(x, t, closur=None)
    assert optimizer.iteration == 0


@pytest.mark.parametrize(
    "evidence", ["variance_l1", None, 3, {}, np.array("variance_l1"), torch.tensor(1, device="meta"), iter(())]
)
def test_evidence_is_a_list_of_names(evidence: Any) -> None:
    model, x, t = problem()
    with pytest.raises(ConfigError, match=r'evidence: must be a list of names, such as \["variance_l1"\], but got '):
        HessianFree(model).step(x, t, evidence=evidence)


@pytest.mark.gpu
def test_a_generator_on_a_gpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="but got a generator on cuda"):
        HessianFree(network((4, 3, 2), 0), seed=torch.Generator("cuda"))
