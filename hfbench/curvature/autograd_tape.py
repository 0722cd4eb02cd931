"""Autograd tape: the recorded forward pass of one chunk of cases, and on demand the recorded map u ↦ Jᵀu.

J v is the transpose of the recorded transpose: ⟨Jᵀu, v⟩ differentiated by a dummy u. See
`hfbench.curvature.linear_products`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.autograd.graph import GradientEdge, get_gradient_edge, saved_tensors_hooks
from torch.func import jvp

from hfbench.curvature.chain_columns import Groups
from hfbench.curvature.derivative_rules import with_rules
from hfbench.curvature.double_backward import quiet, twice_differentiable
from hfbench.curvature.layer_io import Capture
from hfbench.curvature.model_checks import outputs_of
from hfbench.curvature.watched_tensors import is_change_in_place
from hfbench.curvature.weights_by_name import Weights, leaves_of, outputs_with
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector


class AutogradTape:
    """Tape from the model's graph at the weights given by name, in their dtype."""

    def __init__(self, model: nn.Module, inputs: Tensor, weights: Weights) -> None:
        self.model, self.inputs = model, inputs
        self.parameters = leaves_of(weights)
        self.fixed: Mapping[str, Tensor] = {}  # what else of the model is replaced in a call of it
        self.z = with_rules(self._recorded)
        self.forward_mode = False

    def _recorded(self) -> Tensor:
        self.capture = Capture(self.model, len(self.inputs), self.parameters)
        leaves = list(self.parameters.values())
        with torch.enable_grad(), twice_differentiable(self.model), self.capture:
            return outputs_of(lambda x: self._outputs(self.parameters, x), self.inputs, leaves)

    @property
    def mode(self) -> str:
        """Mode of J v: "transpose" or "forward"."""
        return "forward" if self.forward_mode else "transpose"

    @property
    def is_recorded(self) -> bool:
        """True if J v needs no further recording."""
        return self.forward_mode or "_transpose" in vars(self)

    def vjp(self, u: Tensor) -> Vector:
        """Jᵀu."""
        weights = list(self.parameters.values())
        blocks = grad(self.z, weights, u, retain_graph=True, allow_unused=True, materialize_grads=True)
        if sparse := [name for name, b in zip(self.parameters, blocks, strict=True) if b.layout != torch.strided]:
            raise ConfigError(
                f"the gradient of {', '.join(map(repr, sparse))} is sparse, but vectors are dense: take sparse=False "
                "in functional.embedding."
            )
        return Vector(blocks)

    def gradient(self, u: Tensor) -> Vector:
        """Jᵀu."""
        return self.vjp(u)

    def jvp(self, v: Vector) -> Tensor:
        """J v."""
        if not self.forward_mode:
            try:
                return self._transposed_transpose(v)
            except torch.OutOfMemoryError:  # a RuntimeError too, but forward mode is no cure
                raise
            except RuntimeError as error:  # an operation without a second derivative: fused kernels
                if is_change_in_place(error):
                    raise
                self.forward_mode = True
        return self._forward_mode(v)

    def jvp_parts(self, V: Sequence[Vector], groups: Groups) -> Tensor:
        """J v of every part of k vectors, one by one."""
        parts = [self._part(v, group) for group in groups for v in V]
        return torch.stack([self.jvp(part) for part in parts], 1)

    def share_of_jvp(self, k: int, groups: Groups) -> float:
        """The number of parts."""
        return k * len(groups)

    def _part(self, v: Vector, group: Sequence[int]) -> Vector:
        """The vector's blocks of the group, and zero elsewhere."""
        if len(group) == len(v):
            return v
        return Vector(block if i in group else torch.zeros_like(block) for i, block in enumerate(v))

    def vjp_columns(self, U: Tensor) -> list[Vector]:
        """Jᵀu of each column, one by one."""
        return [self.vjp(u.contiguous()) for u in U.unbind(1)]

    def first(self, cases: int) -> None:
        """None: a graph is of all cases."""

    def free(self) -> None:
        """Frees everything recorded."""
        self.__dict__.clear()

    @cached_property
    def _transpose(self) -> tuple[Tensor, list[GradientEdge], list[int]]:
        """A dummy u, the blocks of Jᵀu in its graph that depend on it, and their positions.

        u, the deltas and the blocks are zero; their graph is kept, not their values.
        """
        u = torch.zeros_like(self.z, requires_grad=True)
        with torch.enable_grad(), saved_tensors_hooks(_without_zeros, _with_zeros):
            blocks = grad(self.z, list(self.parameters.values()), u, create_graph=True, allow_unused=True)
        used = [i for i, block in enumerate(blocks) if block is not None]
        if not all(blocks[i].requires_grad for i in used):
            raise RuntimeError("a backward pass did not record itself, so it cannot be transposed")
        return u, [get_gradient_edge(blocks[i]) for i in used], used

    def _transposed_transpose(self, v: Vector) -> Tensor:
        u, edges, used = self._transpose
        (Jv,) = grad(edges, u, [v[i] for i in used], retain_graph=True)
        return Jv

    def _forward_mode(self, v: Vector) -> Tensor:
        weights = {name: p.detach() for name, p in self.parameters.items()}
        tangents = dict(zip(weights, v, strict=True))
        try:
            with twice_differentiable(self.model), quiet():
                Jv: Tensor = jvp(lambda w: self._outputs(w, self.inputs), (weights,), (tangents,))[1]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ConfigError(
                "the product J v needs a second derivative or a forward-mode rule of every operation, but one has "
                f"neither: {_first_sentence(error)} Replace it in the model (nn.EmbeddingBag, say, by nn.Embedding "
                "and a mean)."
            ) from error
        return Jv

    def _outputs(self, weights: Weights, inputs: Tensor) -> Tensor:
        """The model's outputs with these weights."""
        return outputs_with(self.model, {**self.fixed, **weights}, inputs)


class CastGraph(AutogradTape):
    """Tape in another dtype: weights, buffers and inputs are cast once, v and u at every product.

    Floating inputs and all tensors of the trained parameters' dtype are cast; integers and tensors of a third dtype are
    not. Both products come from one recorded map, so that they are transposes up to that dtype's rounding.
    """

    def __init__(self, model: nn.Module, inputs: Tensor, weights: Weights, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype
        self.inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
        self.own = next(iter(weights.values())).dtype
        rest = [*model.named_parameters(), *model.named_buffers()]
        with self._named():
            self.fixed = {
                name: tensor.detach().to(dtype)
                for name, tensor in rest
                if name not in weights and tensor.dtype == self.own
            }
            self.parameters = leaves_of({name: w.to(dtype) for name, w in weights.items()})
            self.z = with_rules(self._recorded)
        self.forward_mode = False

    def _recorded(self) -> Tensor:
        self.capture = Capture(self.model, len(self.inputs), self.parameters)
        with torch.enable_grad(), twice_differentiable(self.model), self.capture:
            return self._outputs(self.parameters, self.inputs)

    def vjp(self, u: Tensor) -> Vector:
        with self._named():
            return Vector(block.to(self.own) for block in super().vjp(u.to(self.z.dtype)))

    def jvp(self, v: Vector) -> Tensor:
        with self._named():
            return super().jvp(Vector(block.to(self.dtype) for block in v)).to(self.own)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Explains an error in the cast model by the precision."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ConfigError) as error:
            name = str(self.dtype).removeprefix("torch.")
            raise ConfigError(
                f"precision: the model must run in {name} for products in it, but does not: {_first_sentence(error)} "
                "Take precision 'parameters', which needs nothing of the model, or have the model cast to the dtype of "
                "its weights what it makes itself."
            ) from error


Saved = Tensor | tuple[Tensor, torch.Size]


def _without_zeros(saved: Tensor) -> Saved:
    """A tensor that a graph saves, or its shape and a single zero if all entries are zero.

    The tensor is detached, since one that holds the node which saves it would never be freed. Unpacking attaches it.
    """
    saved = saved.detach()
    if saved.layout != torch.strided or not saved.is_floating_point() or saved.numel() < 2 or bool(saved[0].any()):
        return saved
    order = sorted(range(saved.dim()), key=saved.stride, reverse=True)  # along memory: several times faster
    least, most = torch.aminmax(saved.permute(order))
    return (saved.new_zeros(()), saved.shape) if bool(least == 0) and bool(most == 0) else saved


def _with_zeros(saved: Saved) -> Tensor:
    return saved if isinstance(saved, Tensor) else saved[0].expand(saved[1])


def _first_sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].removesuffix(".") + "."
