"""Small dense systems with a chosen spectrum, named after what is hard about them, and small networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hfbench.linalg.vector import Vector

Array = NDArray[np.float64]


def with_spectrum(rows: int, columns: int, condition: float, seed: int) -> Array:
    """A rows × columns matrix with singular values from 1 down to 1/condition, geometrically."""
    rng = np.random.default_rng(seed)
    U, _ = np.linalg.qr(rng.standard_normal((rows, rows)))
    V, _ = np.linalg.qr(rng.standard_normal((columns, columns)))
    k = min(rows, columns)
    return (U[:, :k] * np.geomspace(1.0, 1.0 / condition, k)) @ V[:, :k].T


def blocks(x: Array, dtype: torch.dtype = torch.float64) -> Vector:
    """A vector in two blocks of different shapes."""
    split = 2 * (len(x) // 3)
    return Vector((torch.tensor(x[:split], dtype=dtype).reshape(2, -1), torch.tensor(x[split:], dtype=dtype)))


def flat(v: Vector) -> Array:
    return np.concatenate([block.detach().double().numpy().ravel() for block in v])


@dataclass
class DenseSystem:
    """min ‖Ãx - b̃‖ with Ã = [K; √lambda I] and b̃ = (b, 0), so that A = KᵀK + lambda I and g = -Kᵀb."""

    K: Array
    b: Array
    damping: float = 0.0

    @property
    def A(self) -> Array:
        return self.K.T @ self.K + self.damping * np.eye(self.K.shape[1])

    @property
    def gradient(self) -> Vector:
        return blocks(-self.K.T @ self.b)

    @property
    def right_hand_side(self) -> Vector:
        return Vector((torch.tensor(self.b), *blocks(np.zeros(self.K.shape[1]))))

    def multiply(self, v: Vector) -> Vector:
        return blocks(self.A @ flat(v))

    def multiply_columns(self, V: Sequence[Vector]) -> list[Vector]:
        return [self.multiply(v) for v in V]

    @property
    def root_shift(self) -> list[float]:
        return [self.damping**0.5] * 2

    def kernel(self) -> torch.Tensor:
        return torch.tensor(self.K @ self.K.T / self.damping)

    def forward(self, v: Vector) -> Vector:
        return Vector((torch.tensor(self.K @ flat(v)), *(v * self.damping**0.5)))

    def adjoint(self, u: Vector) -> Vector:
        return blocks(self.K.T @ u[0].numpy() + self.damping**0.5 * flat(Vector(u[1:])))

    def solution(self) -> Array:
        return np.linalg.solve(self.A, self.K.T @ self.b)

    def q(self, x: Array) -> float:
        return float(-(self.K.T @ self.b) @ x + 0.5 * x @ self.A @ x)


def dense_system(shape: str, condition: float, damping: float = 0.0, seed: int = 0) -> DenseSystem:
    """ "square", "tall" or "wide"."""
    rows, columns = {"square": (42, 42), "tall": (60, 42), "wide": (30, 42)}[shape]
    K = with_spectrum(rows, columns, condition, seed)
    return DenseSystem(K, np.random.default_rng(seed + 1).standard_normal(rows), damping)


@dataclass
class SingleSystem(DenseSystem):
    """The same in float32, damping 0: its A and q are those of the rounded K and b, in float64."""

    def __post_init__(self) -> None:
        self.K32, self.b32 = torch.tensor(self.K, dtype=torch.float32), torch.tensor(self.b, dtype=torch.float32)
        self.K, self.b = self.K32.double().numpy(), self.b32.double().numpy()

    @property
    def gradient(self) -> Vector:
        return self._shaped(-self.K32.T @ self.b32)

    @property
    def right_hand_side(self) -> Vector:
        return Vector((self.b32.clone(), *self._shaped(torch.zeros(self.K.shape[1]))))

    def multiply(self, v: Vector) -> Vector:
        return self._shaped(self.K32.T @ (self.K32 @ _long(v)))

    def forward(self, v: Vector) -> Vector:
        return Vector((self.K32 @ _long(v), *(block * 0 for block in v)))

    def adjoint(self, u: Vector) -> Vector:
        return self._shaped(self.K32.T @ u[0])

    def _shaped(self, x: Tensor) -> Vector:
        split = 2 * (len(x) // 3)
        return Vector((x[:split].reshape(2, -1), x[split:]))


def _long(v: Vector) -> Tensor:
    return torch.cat([block.reshape(-1) for block in v])


def single_system(condition: float, seed: int = 0) -> SingleSystem:
    """A of this condition, tall."""
    K = with_spectrum(60, 42, condition**0.5, seed)
    return SingleSystem(K, np.random.default_rng(seed + 1).standard_normal(60))


class DiagonalFactor:
    """M = diag(m)."""

    def __init__(self, m: Array) -> None:
        self.m = blocks(m)

    def solve(self, v: Vector) -> Vector:
        return Vector(a / b for a, b in zip(v, self.m, strict=True))

    def solve_factor(self, v: Vector) -> Vector:
        return Vector(a / b.sqrt() for a, b in zip(v, self.m, strict=True))

    solve_factor_t = solve_factor


# ---------------------------------------------------------------- networks


def network(sizes: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Dense layers with tanh between them and Gaussian weights and biases."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
        layer = nn.Linear(fan_in, fan_out, dtype=dtype)
        with torch.no_grad():
            for p in layer.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=dtype) / fan_in**0.5)
        layers += [layer] if i == len(sizes) - 2 else [layer, nn.Tanh()]
    return nn.Sequential(*layers)


class Tied(nn.Module):
    """The decoder is the encoder's transpose: a weight used outside its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(torch.tanh(self.encoder(x)), self.encoder.weight.T)


class Twice(nn.Module):
    """One layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.tanh(self.layer(x)))


class OnceDifferentiable(torch.autograd.Function):
    """A square without a second derivative, as fused kernels are; forward mode is there."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.save_for_forward(inputs[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * g

    @staticmethod
    def jvp(ctx, tangent: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * tangent


def targets_for(loss: str, cases: int, outputs: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if loss == "softmax":
        return torch.randint(outputs, (cases,), generator=generator)
    if loss == "logistic":
        return torch.rand(cases, outputs, generator=generator, dtype=dtype)
    return torch.randn(cases, outputs, generator=generator, dtype=dtype)


def inputs_for(cases: int, features: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(cases, features, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def dense_jacobian(model: nn.Module, inputs: Tensor) -> Tensor:
    """dz/dw as (cases × outputs) × P by functional autodiff, blocks in parameter order."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    weights = {name: p.detach() for name, p in model.named_parameters()}
    J = torch.func.jacrev(lambda w: torch.func.functional_call(model, w, (inputs,)))(weights)
    z = model(inputs)
    return torch.cat([J[name].reshape(z.numel(), -1) for name in names], 1)


def dense_hessian(loss: str, z: Tensor, targets: Tensor) -> Tensor:
    """d²(Σ loss)/dz² as a dense matrix, by automatic differentiation of PyTorch's own losses."""
    functional = nn.functional

    def total(flat_z: Tensor) -> Tensor:
        out = flat_z.reshape(z.shape)
        if loss == "softmax":
            return functional.cross_entropy(out, targets, reduction="sum")
        if loss == "logistic":
            return functional.binary_cross_entropy_with_logits(out, targets, reduction="sum")
        return 0.5 * functional.mse_loss(out, targets, reduction="sum")

    return torch.autograd.functional.hessian(total, z.detach().reshape(-1))
