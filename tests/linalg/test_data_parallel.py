"""Two real gloo ranks, started by torchrun, against one process that has all cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import hfbench
from hfbench.errors import ConfigError
from hfbench.linalg.data_parallel import ALONE, SharedVector, ranks_of
from hfbench.linalg.vector import Vector

SCRIPT = Path(__file__).parents[1] / "support/ranks_script.py"
OBJECTIVE, RHO = 0, 1  # columns of a trace
TRAINED = [f"{name}-{batches}" for name in ("cg", "lsmr", "lsqr", "minres", "flat") for batches in ("one", "two")]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each rank wrote."""
    out = tmp_path_factory.mktemp("ranks") / "out"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", SCRIPT, out]
    ended = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(out.with_suffix(f".{rank}").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_ten_steps_are_those_of_one_process_to_rounding(told: list[dict[str, Any]], name: str) -> None:
    shared, alone = told[0][name], told[0][f"{name}-alone"]
    assert shared["inner"] == alone["inner"]
    np.testing.assert_allclose(shared["weights"], alone["weights"], rtol=0, atol=1e-10)
    ours, theirs = np.array(shared["trace"]), np.array(alone["trace"])
    np.testing.assert_allclose(ours[:, OBJECTIVE], theirs[:, OBJECTIVE], rtol=1e-10)
    np.testing.assert_allclose(ours, theirs, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_ranks_have_the_same_numbers_to_the_last_bit_and_share_the_work(told: list[dict[str, Any]], name: str) -> None:
    zero, one, alone = told[0][name], told[1][name], told[0][f"{name}-alone"]
    assert (zero["weights"], zero["trace"]) == (one["weights"], one["trace"])
    assert zero["products"] == one["products"] == alone["products"]
    if "lsqr" in name:  # kfac's eigenvectors are found on every rank
        assert zero["work"] < alone["work"] < zero["work"] + one["work"]
    else:
        assert zero["work"] + one["work"] == pytest.approx(alone["work"], rel=5e-3)  # backtracking ends by a hair


@pytest.mark.slow
def test_a_product_sends_one_parameter_vector_and_an_inner_product_a_number(told: list[dict[str, Any]]) -> None:
    for one in (rank["products"] for rank in told):
        whole = one["parameters"]
        assert (one["gauss_newton"], one["vjp"], one["jvp"], one["norm"]) == ([whole], [whole], [], [8])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("weights", "all ranks must have the same weights, but rank 1 has another than rank 0"),
        ("settings", "all ranks must have the same settings"),
        ("dtype", "all ranks must have the same shapes and dtypes of parameters"),
        ("inputs", "inputs and targets must be equally many and not empty, but are 0 and 0"),
        ("targets", "targets: must lie in [0, 1]"),
        ("group", "process_group: must be a process group that this process belongs to"),
    ],
)
def test_what_is_wrong_on_one_rank_is_said_on_all_and_they_go_on(
    told: list[dict[str, Any]], what: str, said: str
) -> None:
    for rank in told:
        assert said in rank["refused"][what]
        assert rank["refused"]["after"] == "1"
    if what in ("inputs", "targets"):
        assert told[0]["refused"][what].startswith("rank 1 of 2 could not go on: ")


def test_without_a_process_group_that_was_begun_the_message_says_what_to_do() -> None:
    assert ranks_of(None, torch.device("cpu")) is ALONE
    with pytest.raises(ConfigError, match=r"process_group: needs torch\.distributed\.init_process_group\(\) first"):
        hfbench.HessianFree(torch.nn.Linear(2, 1), process_group="world")


def test_a_shared_vector_keeps_what_it_is() -> None:
    class Twice(type(ALONE)):  # type: ignore[misc]
        def total(self, number: float) -> float:
            return 2 * number

    v = SharedVector((torch.ones(3), torch.ones(2)), Twice())
    assert v.dot(v) == 2 * 3 + 2
    made = [v + v, v - v, v * 2, 2 * v, v / 2, -v, v**2, v.add(v, 0.5), v.clone(), v.zeros_like()]
    assert all(isinstance(one, SharedVector) and one.ranks is v.ranks for one in made)
    assert (v * 2).add_(v).mul_(2).norm() == pytest.approx(6 * 8**0.5)
    assert type(Vector(v) + Vector(v)) is Vector
