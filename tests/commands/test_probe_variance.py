"""What batches say about their noise, against per-case gradients by autograd and against sampling theory."""

from __future__ import annotations

import io
import itertools
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from support.tiny_study import specs, tiny
from torch.nn.functional import binary_cross_entropy_with_logits

from hfbench.commands.probe_variance import Noise, _rows, check_schedulers, noise_of, probe_variance
from hfbench.errors import ConfigError, UnknownPartError
from hfbench.linalg.vector import Vector
from hfbench.probe.freeze import frozen_systems
from hfbench.probe.frozen_system import FrozenSystem


@cache
def frozen() -> FrozenSystem:
    folder = Path(tempfile.mkdtemp(prefix="hfbench-probe-"))
    return next(frozen_systems(specs(tiny(folder, "study.stop_at_target=false"))["hf", 0], [3]))


@cache
def probed() -> tuple[pd.DataFrame, str]:
    folder, screen = Path(tempfile.mkdtemp(prefix="hfbench-probe-")), io.StringIO()
    sizes, schedulers = [10, 40, 200], ["dynamic", "inner-product"]
    console = Console(file=screen, width=80)
    assert probe_variance([frozen(), frozen().damped(0.1)], schedulers, sizes, 40, folder, console) == 0
    assert (folder / "variance.png").stat().st_size > 5_000
    return pd.read_parquet(folder / "variance.parquet"), screen.getvalue()


def test_the_truth_is_that_of_every_case_by_itself() -> None:
    opened = frozen().open(precision="float64")
    train = opened.data.train
    found = noise_of(opened, train.inputs, train.targets)
    rows = []
    for x, t in zip(train.inputs, train.targets, strict=True):
        loss = binary_cross_entropy_with_logits(opened.model(x[None]), t[None], reduction="sum")
        rows.append(torch.cat([g.reshape(-1) for g in torch.autograd.grad(loss, list(opened.model.parameters()))]))
    gradients = torch.stack(rows)
    decay = torch.cat(
        [(w * mu).reshape(-1) for w, mu in zip(opened.optimizer.weights, opened.optimizer.mu_D, strict=True)]
    )
    g = gradients.mean(0) + decay
    assert found.norm == pytest.approx(float(g.norm()), rel=1e-10)
    assert found.variance_l1 == pytest.approx(float(gradients.var(0).sum()), rel=1e-9)
    assert found.variance_inner == pytest.approx(float((gradients @ g).var()), rel=1e-9)


def test_the_noise_seen_is_what_sampling_theory_says() -> None:
    rows = probed()[0]
    seen = rows[(rows["scheduler"] == "dynamic") & (rows["n"] < rows["total"])]
    assert np.allclose(seen["noise_seen"], 1.0, atol=0.35)  # a mean over 40 batches
    whole = rows[rows["n"] == rows["total"]]
    assert np.allclose(whole[["variance", "inner", "gradient"]], 1.0, rtol=1e-5)
    assert (whole["wrong"] == 0).all()


@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_noise_of_all_batches_of_a_size_is_just_what_theory_says(n: int) -> None:
    """E‖g_S - g‖² = V/n·(N - n)/N exactly, over every S; V_S is right in the mean."""
    gradients = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.3

    def noise(cases: torch.Tensor) -> Noise:
        g = cases.mean(0)
        return Noise(Vector([g]), float(g.norm()), float(cases.var(0).sum()), float((cases @ g).var()))

    drawn = [noise(gradients[list(some)]) for some in itertools.combinations(range(6), n)]
    (row,) = _rows(frozen(), n, 6, noise(gradients), drawn, ["dynamic"])
    assert row["noise_seen"] == pytest.approx(1.0, rel=1e-12)
    assert row["variance"] == pytest.approx(1.0, rel=1e-12)
    assert row["gradient"] == pytest.approx(1 + row["noise"], rel=1e-12)


def test_estimates_are_unbiased_and_spread_less_in_larger_batches() -> None:
    rows = probed()[0]
    one = rows[rows["scheduler"] == "dynamic"].set_index("n")
    assert one.loc[10, "variance"] == pytest.approx(1.0, abs=4 * one.loc[10, "variance_sd"] / 40**0.5)
    assert one.loc[40, "variance_sd"] < one.loc[10, "variance_sd"]
    assert one.loc[10, "gradient"] == pytest.approx(1 + one.loc[10, "noise"], rel=0.35)  # E‖g_S‖² = ‖g‖² + noise


def test_a_system_is_looked_at_once_whatever_its_lambda() -> None:
    rows, text = probed()
    assert set(rows["system"]) == {frozen().moment}
    assert text.count("40 batches of each size") == 1
    assert max(map(len, text.splitlines())) <= 80 or "parquet" in text


def test_what_cannot_be_drawn_or_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--batches: must have sizes from 2 to 200"):
        probe_variance([frozen()], ["dynamic"], [1000], 3, tmp_path, Console(file=io.StringIO()))
    with pytest.raises(UnknownPartError, match="no scheduler 'dynamo'"):
        check_schedulers(["dynamo"])
    with pytest.raises(ConfigError, match="start"):
        check_schedulers(["fixed"])
