"""A model linearised at its weights and a batch: products with J = dz/dw, Jᵀ and the Gauss-Newton matrix.

J·v is taken as the transpose of the transpose. One backward pass of z with a dummy u is recorded (`create_graph`);
it is the linear map u ↦ Jᵀu, and differentiating ⟨Jᵀu, v⟩ with respect to u gives J v with two matrix products per
dense layer and nothing retraced. Any differentiable module works; fused kernels give way to their plain twins
(`hfbench.kernels`). Where an operation has no second derivative still, J·v falls back to forward mode (one more forward
pass per product) and `product_mode` says so.

The graph is built at the first product, kept for all of an outer iteration's products, and freed with the object.
With `chunk`, batches are streamed: no graph outlives its chunk, each product rebuilds them (one more forward pass,
counted), and the results are the same up to the order of summation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.func import functional_call, jvp

from hfbench.capture import Capture
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.kernels import quiet, twice_differentiable
from hfbench.layout import layout_of
from hfbench.ledger import Ledger
from hfbench.loss import LOSSES, LossAt, check_loss, check_targets
from hfbench.models import check_batch, check_layers, check_model, outputs_of
from hfbench.moments import squared_norms, squared_sums
from hfbench.vector import Vector, as_vector


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are optimised, by name, in the model's order."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ConfigError("the model must have parameters with requires_grad=True, but has none.")
    return parameters


def linearize(
    model: nn.Module,
    loss: str,
    inputs: Tensor,
    targets: Tensor,
    *,
    chunk: int | None = None,
    layout: str = "structured",
) -> Linearisation:
    """The model linearised at its present weights on a batch, with the loss "least-squares", "logistic" or "softmax".

    `chunk` streams the batch so many cases at a time; with the layout "flat" vectors have one long block.
    Raises ConfigError for an unknown loss, targets that it is not defined for or a model whose curvature would be wrong
    (dropout in training mode, say), NonFiniteError, when `value` is asked for, for outputs that are not finite.
    """
    check_model(model)
    check_layers(model, trainable(model))
    at = Linearisation(model, loss, inputs, targets, chunk=chunk, layout=layout)
    _ = at.loss_at  # checks the targets
    return at


class _Graph:
    """The recorded forward pass of one chunk, and on demand the recorded map u ↦ Jᵀu."""

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        self.model, self.inputs = model, inputs
        self.parameters = trainable(model)
        with torch.enable_grad(), twice_differentiable(model), Capture(model, len(inputs)) as self.capture:
            self.z = outputs_of(model, inputs, list(self.parameters.values()))
        self.forward_mode = False

    def vjp(self, u: Tensor) -> Vector:
        weights = list(self.parameters.values())
        return Vector(grad(self.z, weights, u, retain_graph=True, allow_unused=True, materialize_grads=True))

    def jvp(self, v: Vector) -> Tensor:
        if not self.forward_mode:
            try:
                return self._transposed_transpose(v)
            except torch.OutOfMemoryError:  # a RuntimeError too, but forward mode is no cure
                raise
            except RuntimeError:  # an operation without a second derivative: fused recurrent or attention kernels
                self.forward_mode = True
        return self._forward_mode(v)

    @cached_property
    def _transpose(self) -> tuple[Tensor, list[Tensor], list[int]]:
        """A dummy u, the blocks of Jᵀu that depend on it, and their positions."""
        u = torch.zeros_like(self.z, requires_grad=True)
        with torch.enable_grad():
            blocks = grad(self.z, list(self.parameters.values()), u, create_graph=True, allow_unused=True)
        used = [i for i, block in enumerate(blocks) if block is not None]
        if not all(blocks[i].requires_grad for i in used):
            raise RuntimeError("a backward pass did not record itself, so it cannot be transposed")
        return u, [blocks[i] for i in used], used

    def _transposed_transpose(self, v: Vector) -> Tensor:
        u, blocks, used = self._transpose
        (Jv,) = grad(blocks, u, [v[i] for i in used], retain_graph=True)
        return Jv

    def _forward_mode(self, v: Vector) -> Tensor:
        weights = {name: p.detach() for name, p in self.parameters.items()}
        tangents = dict(zip(weights, v, strict=True))
        try:
            with twice_differentiable(self.model), quiet():
                Jv: Tensor = jvp(lambda w: functional_call(self.model, w, (self.inputs,)), (weights,), (tangents,))[1]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ConfigError(
                "the product J v needs a second derivative or a forward-mode rule of every operation, but one has "
                f"neither: {_first_sentence(error)} Replace it in the model (nn.EmbeddingBag, say, by nn.Embedding "
                "and a mean)."
            ) from error
        return Jv


class Linearisation:
    """J, Jᵀ, the loss pieces and the Gauss-Newton product at one (weights, batch).

    Vectors are `hfbench.Vector` or any sequence of tensors in parameter order (in the flat layout: of one long block);
    output-space tensors have the shape of the model's outputs, cases first. Everything is counted in `ledger`.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str,
        inputs: Tensor,
        targets: Tensor,
        *,
        chunk: int | None = None,
        layout: str = "structured",
        ledger: Ledger | None = None,
    ) -> None:
        check_batch(inputs, targets)
        self.model, self.loss, self.ledger = model, check_loss(loss), ledger or Ledger()
        self.blocks = Vector(p.detach() for p in trainable(model).values())
        self.layout = layout_of(layout, self.blocks)
        self.parameters = self.layout.pack(self.blocks)
        self.inputs, self.targets, self.n = inputs.detach(), targets.detach(), len(inputs)
        self.slices = _slices(self.n, chunk)
        self.kept = _Graph(model, inputs) if len(self.slices) == 1 else None
        if self.kept is not None:
            self.ledger.count("forward", self.n)
        self.product_mode = "transpose"

    # ------------------------------------------------------------ the pieces everything is made of

    def _graphs(self) -> Iterator[tuple[slice, _Graph]]:
        """The chunks' graphs: the kept one, or each rebuilt in turn and dropped after its turn."""
        if self.kept is not None:
            yield self.slices[0], self.kept
            return
        for one in self.slices:
            self.ledger.count("forward", one.stop - one.start)
            yield one, _Graph(self.model, self.inputs[one])

    @cached_property
    def outputs(self) -> Tensor:
        """z, cases first."""
        if self.kept is not None:
            return self.kept.z.detach()
        self.ledger.count("forward", self.n)
        with torch.no_grad(), twice_differentiable(self.model):
            return torch.cat([outputs_of(self.model, self.inputs[one], self.blocks) for one in self.slices])

    @cached_property
    def loss_at(self) -> LossAt:
        """Raises ConfigError for targets that the loss is not defined for: once, whatever is asked for then."""
        return LOSSES[self.loss](self.outputs, check_targets(self.loss, self.outputs, self.targets))

    @cached_property
    def value(self) -> float:
        """(1/n) Σ loss(z_i, t_i). Raises NonFiniteError where that is not a finite number."""
        value = float(self.loss_at.value().mean(dtype=torch.float64))
        if value - value != 0:
            raise NonFiniteError(
                f"the loss of a batch must be finite, but is {value}: the model's outputs or targets are not finite."
            )
        return value

    @cached_property
    def residual(self) -> Tensor:
        """r = d loss/dz, cases first."""
        return self.loss_at.residual()

    # ------------------------------------------------------------ products

    def jvp(self, v: Sequence[Tensor]) -> Tensor:
        """J v, in the shape of the outputs."""
        blocks = self._blocks_of(v)
        self._count("jvp")
        return torch.cat([self._jvp(graph, blocks) for _, graph in self._graphs()])

    def vjp(self, u: Tensor) -> Vector:
        """Jᵀ u for u in the shape of the outputs."""
        self._count("vjp")
        return self._vjp(u)

    def gauss_newton(self, v: Sequence[Tensor]) -> Vector:
        """G v = (1/n) Jᵀ H J v."""
        blocks = self._blocks_of(v)
        self._count("jvp")
        self._count("vjp")
        if self.kept is not None:
            return self.layout.pack(self.kept.vjp(self.loss_at.hessian(self._jvp(self.kept, blocks)) / self.n))
        total = self.blocks.zeros_like()
        for one, graph in self._graphs():  # both halves on one rebuilt graph
            at = LOSSES[self.loss](graph.z.detach(), self.targets[one])
            total.add_(graph.vjp(at.hessian(self._jvp(graph, blocks)) / self.n))
        return self.layout.pack(total)

    @cached_property
    def gradient(self) -> Vector:
        """(1/n) Jᵀ r, the gradient of `value`."""
        self.ledger.count("backward", self.n)
        return self._vjp(self.residual / self.n)

    # ------------------------------------------------------------ per-case second moments

    def squared_sums(self, u: Tensor) -> Vector:
        """Σ_i (J_iᵀu_i)∘(J_iᵀu_i), shaped like the parameters; u in the shape of the outputs."""
        self.ledger.count("squares", self.n)
        total = self.blocks.zeros_like()
        for one, graph in self._graphs():
            total.add_(squared_sums(self.model, graph.inputs, graph.z, graph.capture, u[one]))
        return self.layout.pack(total)

    def squared_norms(self, u: Tensor) -> float:
        """Σ_i ‖J_iᵀu_i‖², summed in float64."""
        self.ledger.count("norms", self.n)
        return sum(
            squared_norms(self.model, graph.inputs, graph.z, graph.capture, u[one]) for one, graph in self._graphs()
        )

    @cached_property
    def variance_l1(self) -> float:
        """‖Var_i(∇f_i)‖₁ = (Σ_i ‖g_i‖² - n‖ḡ‖²)/(n - 1), the sample variance of Byrd et al. (2012), section 3.

        Weight decay is the same for every case and drops out. NaN where a gradient is. Raises ConfigError for a single
        case.
        """
        self._check_variance()
        mean = self.gradient.norm()
        variance = (self.squared_norms(self.residual) - self.n * mean * mean) / (self.n - 1)
        return 0.0 if variance < 0 else variance  # below zero by rounding alone; max() would swallow a NaN

    def variance_along(self, v: Sequence[Tensor]) -> float:
        """Var_i(g_iᵀv), the sample variance of the cases' slopes along v, summed in float64.

        g_iᵀv = r_iᵀ(J v)_i, so that one product J v gives all of them. It counts as a pass, but, being no part of an
        inner solve, not among the ledger's `products`. NaN where a gradient is. Raises ConfigError for a single case.
        """
        self._check_variance()
        blocks = self._blocks_of(v)
        self.ledger.count("jvp", self.n)
        Jv = torch.cat([self._jvp(graph, blocks) for _, graph in self._graphs()])
        slopes = (self.residual.double() * Jv.double()).reshape(self.n, -1).sum(1)
        return float(slopes.var(correction=1))

    # ------------------------------------------------------------ internals

    def _check_variance(self) -> None:
        if self.n < 2:
            raise ConfigError("the variance of the gradient needs at least two cases, but the batch has one.")

    def _blocks_of(self, v: Sequence[Tensor]) -> Vector:
        return self.layout.unpack(as_vector(v, self.parameters))

    def _jvp(self, graph: _Graph, blocks: Vector) -> Tensor:
        Jv = graph.jvp(blocks)
        if graph.forward_mode:
            self.product_mode = "forward"
            self.ledger.count("forward", len(graph.inputs))
        return Jv

    def _vjp(self, u: Tensor) -> Vector:
        if self.kept is not None:
            return self.layout.pack(self.kept.vjp(u))
        total = self.blocks.zeros_like()
        for one, graph in self._graphs():
            total.add_(graph.vjp(u[one]))
        return self.layout.pack(total)

    def _count(self, kind: str) -> None:
        self.ledger.count(kind, self.n)
        self.ledger.count(f"{kind}_calls", 1)


def _first_sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].removesuffix(".") + "."


def _slices(n: int, chunk: int | None) -> list[slice]:
    if chunk is not None and chunk < 1:
        raise ConfigError(f"chunk: must be at least one case, but got {chunk}.")
    size = chunk or n
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
