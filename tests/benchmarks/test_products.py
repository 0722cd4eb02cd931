"""Rows of `product`, `peers` and `growth`, on small problems."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from benchmarks import growth, peers, product
from benchmarks.networks import NETWORKS
from benchmarks.problems import INPUTS, Problem, problem, sizes_of
from benchmarks.runner import Options
from hfbench.curvature.checked_linearisation import linearize
from hfbench.linalg.vector import Vector

QUICK = Options(threads=1, quick=True)
OURS = {"torch.func": peers.forward_over_reverse, "func.linearize": peers.linearised}


@pytest.mark.parametrize("task", product.TASKS)
def test_product_compares_every_network_with_its_floor(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "TASKS", (task,))
    monkeypatch.setattr(product, "FEW", (20,))
    (row,) = product.rows(QUICK)
    assert row.keys() == product.COLUMNS.keys()
    assert (row["task"], row["cases"]) == (task, 20)
    low, ratio, high = (float(row[key] or 0) for key in ("low", "ratio", "high"))
    assert 0 < low <= ratio <= high


def test_large_networks_are_measured_at_few_cases() -> None:
    assert sizes_of("residual", (250, 1000, 4000)) == [250]
    assert sizes_of("usps", (250, 1000, 4000)) == [250, 1000, 4000]


# ---------------------------------------------------------------- peers


def distance(theirs: Sequence[Tensor], one: Problem) -> float:
    """Of another product from ours, by norm."""
    ours = linearize(one.model, one.loss, one.inputs, one.targets).gauss_newton(one.v)
    return (Vector(block.detach() for block in theirs) - ours).norm() / ours.norm()


@pytest.mark.parametrize("task", [*INPUTS, *NETWORKS])
def test_forward_over_reverse_multiplies_by_the_same_matrix(task: str) -> None:
    one = problem(task, 5)
    for make in OURS.values():
        assert distance(make(one)(), one) < 1e-5


@pytest.mark.parametrize("name", ["BackPACK", "curvlinops"])
@pytest.mark.parametrize("task", [*INPUTS, *NETWORKS])
def test_packages_multiply_by_the_same_matrix(name: str, task: str) -> None:
    one = problem(task, 5)
    try:
        theirs = peers.PEERS[name](one)
    except peers.Missing as missing:
        pytest.skip(f"{name}: {missing}")
    assert distance(theirs(), one) < 1e-5


def test_peers_are_timed_or_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(one: Problem) -> peers.Product:
        raise peers.Missing("not installed")

    monkeypatch.setattr(peers, "PEERS", {**OURS, "nobody's": missing, "func + compile": peers.compiled})
    monkeypatch.setattr(peers, "TASKS", ("usps",))
    monkeypatch.setattr(peers, "FEW", (20,))
    found = {row["side"]: row for row in peers.rows(QUICK)}
    assert found["nobody's"]["note"] == "not installed"
    assert found["func + compile"]["note"] == "not with --quick"
    assert "ratio" not in found["hfbench"]
    assert all(float(found[name]["ratio"] or 0) > 0 for name in OURS)


def test_another_matrix_is_found_out() -> None:
    def wrong(one: Problem) -> peers.Product:
        at = linearize(one.model, one.loss, one.inputs, one.targets)
        return lambda: [1.001 * block for block in at.gauss_newton(one.v)]

    with pytest.raises(peers.WrongAnswerError, match=r"wrong must multiply by the same matrix .* on usps .* 0\.001"):
        list(peers.compare(problem("usps", 5), QUICK, {"wrong": wrong}))


def test_what_is_not_a_number_is_another_matrix() -> None:
    one = problem("usps", 2)
    with pytest.raises(peers.WrongAnswerError):
        peers.check("nan", one, [torch.full_like(block, float("nan")) for block in one.v], one.v)


# ---------------------------------------------------------------- growth


@pytest.mark.slow
def test_work_grows_linearly_with_cases_parameters_and_seeds() -> None:
    found = list(growth.rows(QUICK))
    fitted = {str(row["axis"]): row for row in found if "size" not in row}
    assert fitted.keys() == {"cases, fitted", "parameters, fitted", "seeds, fitted"}
    assert all(0.9 <= float(row["work_exponent"] or 0) <= 1.1 for row in fitted.values())
    assert all(float(row["seconds"] or 0) > 0 for row in found if "size" in row)


def test_an_iteration_leaves_the_weights_as_they_were() -> None:
    one = problem("usps", 5)
    before = [p.detach().clone() for p in one.model.parameters()]
    growth.iteration(one)()
    assert all(torch.equal(p, was) for p, was in zip(one.model.parameters(), before, strict=True))


def test_multiply_adds_of_one_matrix_product() -> None:
    assert growth.multiply_adds(lambda: torch.rand(3, 4) @ torch.rand(4, 5)) == 3 * 4 * 5
