"""Convolutional, recurrent and classifying models, shrunk: products against dense Jacobians, and Hessian-free steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

import hfbench
from hfbench.tasks import classifier, mnist_conv
from hfbench.tasks.addition import Addition, Recurrent
from hfbench.tasks.mnist_class import MNISTClass
from hfbench.tasks.mnist_conv import MNISTConv
from hfbench.tasks.usps_class import USPSClass

CASES = 4


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def conv() -> tuple[nn.Module, str, Tensor, Tensor]:
    pictures = torch.rand(CASES, 784, generator=generator(1), dtype=torch.float64)
    return mnist_conv.convolutional_network((2, 3), 2, generator()), "logistic", pictures, pictures


def recurrent() -> tuple[nn.Module, str, Tensor, Tensor]:
    steps = torch.rand(CASES, 6, 2, generator=generator(1), dtype=torch.float64)
    return Recurrent(5, generator()), "least-squares", steps, steps[:, 2:4, 0].sum(1, keepdim=True)


def classes() -> tuple[nn.Module, str, Tensor, Tensor]:
    pictures = torch.rand(CASES, 20, generator=generator(1), dtype=torch.float64)
    return classifier.classifier_network(20, (6, 5), generator()), "softmax", pictures, torch.tensor([3, 0, 9, 3])


MODELS = {"conv": conv, "recurrent": recurrent, "classes": classes}


class Dense:
    """The model, its loss and everything else from dense Jacobians, case by case."""

    def __init__(self, name: str) -> None:
        self.name = name
        model, self.loss, self.inputs, self.targets = MODELS[name]()
        self.model = model.double()
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        self.sizes = [p.shape for p in weights.values()]
        self.z = self.model(self.inputs).detach()

        def outputs(w: dict[str, Tensor]) -> Tensor:
            return functional_call(self.model, w, (self.inputs,))

        found = jacrev(outputs)(weights)
        self.J = torch.cat([block.flatten(2) for block in found.values()], dim=2)  # cases × outputs × P
        self.residual, self.H = self.of_loss()
        self.at = hfbench.linearize(self.model, self.loss, self.inputs, self.targets)

    def of_loss(self) -> tuple[Tensor, Tensor]:
        """d loss/dz and d²loss/dz², written out."""
        if self.loss == "least-squares":
            return self.z - self.targets, torch.eye(self.z.shape[1], dtype=torch.float64).expand(CASES, -1, -1)
        if self.loss == "logistic":
            p = 1 / (1 + torch.exp(-self.z))
            return p - self.targets, torch.diag_embed(p * (1 - p))
        p = torch.exp(self.z) / torch.exp(self.z).sum(1, keepdim=True)
        truth = torch.nn.functional.one_hot(self.targets, p.shape[1])
        return p - truth, torch.diag_embed(p) - p[:, :, None] * p[:, None, :]

    def per_case(self, u: Tensor) -> Tensor:
        """J_iᵀu_i, (cases × P)."""
        return torch.einsum("nop,no->np", self.J, u)

    def vector(self) -> Tensor:
        return torch.randn(self.J.shape[2], generator=generator(2), dtype=torch.float64)

    def blocks(self, v: Tensor) -> list[Tensor]:
        parts = v.split([shape.numel() for shape in self.sizes])
        return [part.reshape(shape) for part, shape in zip(parts, self.sizes, strict=True)]


def flat(v: hfbench.Vector) -> Tensor:
    return torch.cat([block.flatten() for block in v])


@pytest.fixture(scope="module", params=MODELS)
def dense(request: pytest.FixtureRequest) -> Dense:
    return Dense(request.param)


def test_gradient(dense: Dense) -> None:
    torch.testing.assert_close(flat(dense.at.gradient), dense.per_case(dense.residual).mean(0))


def test_gauss_newton_product(dense: Dense) -> None:
    v = dense.vector()
    G = torch.einsum("nop,noq,nqr->pr", dense.J, dense.H, dense.J) / CASES
    torch.testing.assert_close(flat(dense.at.gauss_newton(dense.blocks(v))), G @ v)
    assert dense.at.product_mode == ("chain" if dense.name == "classes" else "transpose")


def test_product_with_the_jacobian(dense: Dense) -> None:
    v = dense.vector()
    torch.testing.assert_close(dense.at.jvp(dense.blocks(v)), torch.einsum("nop,p->no", dense.J, v))


def test_squared_sums(dense: Dense) -> None:
    u = torch.randn(dense.z.shape, generator=generator(3), dtype=torch.float64)
    torch.testing.assert_close(flat(dense.at.squared_sums(u)), dense.per_case(u).square().sum(0))


def test_variance(dense: Dense) -> None:
    rows = dense.per_case(dense.residual)
    assert dense.at.variance_l1 == pytest.approx(float(rows.var(dim=0, correction=1).sum()), rel=1e-10)


# ---------------------------------------------------------------- steps


def addition_problem() -> tuple[nn.Module, str, Tensor, Tensor]:
    task = Addition(length=10, units=10, cases=60)
    train = task.load(generator()).train
    return task.model(generator(1)), task.loss, train.inputs, train.targets


def conv_problem() -> tuple[nn.Module, str, Tensor, Tensor]:
    task = MNISTConv(channels=(2, 3), code=4)
    squares = torch.zeros(30, 28, 28)
    for case, (row, column) in enumerate(torch.randint(0, 20, (30, 2), generator=generator()).tolist()):
        squares[case, row : row + 8, column : column + 8] = 1
    return task.model(generator(1)), task.loss, squares.flatten(1), squares.flatten(1)


def class_problem(task: MNISTClass | USPSClass, pixels: int) -> tuple[nn.Module, str, Tensor, Tensor]:
    targets = torch.randint(0, 10, (60,), generator=generator())
    templates = torch.rand(10, pixels, generator=generator(2))
    pictures = 0.8 * templates[targets] + 0.2 * torch.rand(60, pixels, generator=generator(3))
    return task.model(generator(1)), task.loss, pictures, targets


PROBLEMS = {
    "addition": addition_problem,
    "mnist-conv": conv_problem,
    "mnist-class": lambda: class_problem(MNISTClass(layers=(12,)), 784),
    "usps-class": lambda: class_problem(USPSClass(layers=(12, 8)), 256),
}


@pytest.mark.parametrize(("solver", "preconditioner"), [("cg", "martens"), ("lsmr", "chapelle-erhan")])
@pytest.mark.parametrize("name", PROBLEMS)
def test_steps_lower_the_objective(name: str, solver: str, preconditioner: str) -> None:
    model, loss, inputs, targets = PROBLEMS[name]()
    optimizer = hfbench.HessianFree(
        model,
        loss=loss,
        solver=solver,
        preconditioner=preconditioner,
        globalization={"initial_damping": 1.0},  # four steps from 45 would be short ones
        decay=1e-5,
    )
    steps = [optimizer.step(inputs, targets) for _ in range(4)]
    assert steps[0].objective_before < 1e6
    assert all(step.objective_after < step.objective_before for step in steps)
    assert steps[-1].objective_after < 0.9 * steps[0].objective_before
    assert {step.product_mode for step in steps} == {"chain" if name.endswith("class") else "transpose"}
