"""A model linearised at its weights and a batch: products with J = dz/dw, Jᵀ and the Gauss-Newton matrix.

A chain of dense layers and activations has its products written out (`hfbench.curvature.dense_chain`). For any other
differentiable module, J·v is computed as the transpose of the transpose. One backward pass of z with a dummy u is
recorded (`create_graph`); it is the linear map u ↦ Jᵀu, and differentiating ⟨Jᵀu, v⟩ with respect to u gives J v with
two matrix products per dense layer and no retracing. Convolutions, normalisation, average pooling and recurrent layers
have derivatives of our own (`hfbench.curvature.derivative_rules`), since PyTorch's are slow. Fused kernels are replaced
by their plain twins (`hfbench.curvature.double_backward`). If an operation still has no second derivative, J·v falls
back to forward mode (one more forward pass per product), and `product_mode` is "forward".

The graph is built at the first product, kept for all of an outer iteration's products, and freed with the object.
With `chunk`, batches are streamed: no graph outlives its chunk, and each product rebuilds the graphs (one more forward
pass and, for J v, one more recorded transpose, both counted). The results are the same up to the order of summation.

With a `precision` of another dtype (`hfbench.linalg.precision`), one more forward pass records a separate graph for the
products. Outputs, loss, gradient and second moments always have the weights' dtype.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from hfbench.curvature.chain_columns import Groups
from hfbench.curvature.cuda_chain import ReplayedChain
from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.feature_scale import said_of_large
from hfbench.curvature.loss import LOSSES, LossAt, check_loss, check_targets
from hfbench.curvature.model_checks import check_batch, outputs_of
from hfbench.curvature.pass_units import units_of
from hfbench.curvature.tape import Tape, record_tape
from hfbench.curvature.watched_tensors import Watched, changes_explained
from hfbench.curvature.weights_by_name import (
    checksums,
    outputs_with,
    own_weights,
    weights_changed,
)
from hfbench.curvature.work_ledger import Ledger, PartsLedger, ledger_of
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.linalg.data_parallel import ALONE, Ranks
from hfbench.linalg.layout import layout_of
from hfbench.linalg.precision import Precision, arithmetic, precision_of
from hfbench.linalg.vector import Vector, as_vector, check_in_output_space
from hfbench.memory.allocations import case_slices
from hfbench.memory.freed_memory import keep_freed_memory
from hfbench.setting_checks import whole_number

OF_COLUMNS = "the outputs' shape with the number of columns after that of cases, here"


class LinearProducts:
    """J, Jᵀ, the loss pieces and the Gauss-Newton product at one (weights, batch).

    Vectors are `hfbench.Vector` or any sequence of tensors in parameter order (in the flat layout: of one long block);
    output-space tensors have the shape of the model's outputs, cases first. Everything is counted in `ledger`, by the
    units of the model's passes (`hfbench.curvature.pass_units`).

    With `ranks`, the batch is divided among them: n, objective, gradient, products Jᵀu and G v, second moments and
    variances are those of all cases, the same on every rank. Output-space tensors and the counts of the ledger are
    those of the rank's own cases.
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
        precision: str = "parameters",
        ledger: Ledger | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        check_batch(inputs, targets)
        keep_freed_memory()
        self.model, self.loss, self.ledger = model, check_loss(loss), PartsLedger(ledger or Ledger())
        self.weights = own_weights(model)  # copies: what happens to the model's own later is nothing to this point
        self.blocks = Vector(self.weights.values())
        self.layout = layout_of(layout, self.blocks)
        self.inputs, self.targets, self.here = inputs.detach(), targets.detach(), len(inputs)
        self.share = ranks.share(self.here)
        self.n = self.share.n
        self.chunk = min(check_chunk(chunk) or self.here, self.here)
        self.slices = list(case_slices(self.here, self.chunk))
        self.precision = precision_of(precision, self.blocks[0])
        own = self.blocks[0].dtype
        self.casts, self.differs = self.precision.dtype != own, self.precision != Precision(own)
        ledger_of(self.ledger).units = units_of(model, self.inputs)
        self.product_mode = "transpose"
        self.rewritten: list[str] | None = None  # weights that a forward pass changed, once there was one
        self.watched = Watched({"the inputs": inputs, "the targets": targets}, model)
        if not self.casts:  # else it may not be needed
            _ = self.kept

    # ------------------------------------------------------------ the pieces everything is made of

    @property
    def parameters(self) -> Vector:
        """The weights as a vector of the layout."""
        return self.layout.pack(self.blocks)

    @cached_property
    def _like(self) -> Vector:
        """The shapes of vectors, without values."""
        return self.layout.pack(Vector(block.to("meta") for block in self.blocks))

    @cached_property
    def kept(self) -> Tape | None:
        """The graph of the whole batch, in the weights' dtype; None if the batch is streamed."""
        return self._record(self.slices[0]) if len(self.slices) == 1 else None

    @cached_property
    def kept_cast(self) -> Tape | None:
        """The same in the products' dtype, if it differs."""
        return self._record(self.slices[0], cast=True) if len(self.slices) == 1 else None

    def keep_for_products(self) -> None:
        """Frees the graph in the weights' dtype if products use another one."""
        if self.casts:
            _ = self.loss_at  # has what is known of the outputs
            vars(self).pop("kept", None)

    def _kept(self, products: bool) -> Tape:
        kept = self.kept_cast if products and self.casts else self.kept
        assert kept is not None  # asked for where the batch is whole
        self.check_unchanged()
        return kept

    def first(self, cases: int) -> Self:
        """The same model at the same weights, linearised on the first so many cases alone.

        What is computed of a dense chain is taken over. Other graphs are recorded anew, and counted.
        """
        part = copy.copy(self)
        for kind in type(self).__mro__:
            for name, member in vars(kind).items():
                if isinstance(member, cached_property):
                    vars(part).pop(name, None)
        part.inputs, part.targets, part.here = self.inputs[:cases], self.targets[:cases], cases
        part.share = self.share.ranks.share(cases)
        part.n, part.chunk = part.share.n, min(self.chunk, cases)
        part.slices = list(case_slices(cases, part.chunk))
        for name in ("kept", "kept_cast"):
            tape: Tape | None = vars(self).get(name)
            if tape is not None and (own := tape.first(cases)) is not None:
                vars(part)[name] = own
        if "outputs" in vars(self):
            vars(part)["outputs"] = self.outputs[:cases]
        return part

    def check_unchanged(self) -> None:
        """Raises ConfigError if a tensor that products read was changed in place, or weights by the forward pass."""
        self.watched.check()
        if self.rewritten:
            raise ConfigError(weights_changed(self.rewritten))

    def _record(self, rows: slice, cast: bool = False) -> Tape:
        self.watched.check()
        self.ledger.count("forward", rows.stop - rows.start)
        inputs = self.inputs if len(self.slices) == 1 else self.inputs[rows]
        first = self.rewritten is None and not cast
        before = checksums(self.weights) if first else None
        recorded = record_tape(self.model, inputs, self.weights, self.precision.dtype if cast else None)
        if before is not None:
            differ = (checksums(self.weights) != before).tolist()
            self.rewritten = [name for name, differs in zip(self.weights, differ, strict=True) if differs]
        self.product_mode = recorded.mode
        return recorded

    def _graphs(self, products: bool = False) -> Iterator[tuple[slice, Tape]]:
        """The chunks' graphs: the kept one, or each one rebuilt in turn and then freed."""
        if len(self.slices) == 1:
            yield self.slices[0], self._kept(products)
            return
        for part in case_slices(self.here, self.chunk):
            graph = self._record(part, cast=products and self.casts)
            self.check_unchanged()
            yield part, graph
            graph.free()  # whoever still has it: the next one is recorded in its place, not beside it

    @cached_property
    def outputs(self) -> Tensor:
        """z, cases first."""
        if (kept := vars(self).get("kept")) is not None:
            z: Tensor = kept.z.detach()
            return z
        self.watched.check()
        self.ledger.count("forward", self.here)
        with torch.no_grad(), twice_differentiable(self.model):
            return self._joined(
                outputs_of(lambda x: outputs_with(self.model, self.weights, x), self.inputs[part], self.blocks)
                for part in case_slices(self.here, self.chunk)
            )

    @cached_property
    def loss_at(self) -> LossAt:
        """The loss at the outputs. Raises ConfigError for targets that the loss is not defined for, checked once."""
        return self.share.ranks.together(self._loss_here)

    def _loss_here(self) -> LossAt:
        self.watched.check()
        return LOSSES[self.loss](self.outputs, check_targets(self.loss, self.outputs, self.targets))

    @cached_property
    def value(self) -> float:
        """(1/n) Σ loss(z_i, t_i). Raises NonFiniteError if it is not finite."""
        value = self.share.mean(float(self.loss_at.value().mean(dtype=torch.float64)))
        if value - value != 0:
            raise NonFiniteError(
                f"the loss of a batch must be finite, but is {value}: the outputs, of up to "
                f"{float(self.outputs.abs().max()):.3g} in size, or the targets are not finite, or too large for it."
                f"{said_of_large(self.inputs)}"
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
        with self._arithmetic():
            return self._joined(self._jvp(graph, blocks) for _, graph in self._graphs(products=True))

    def vjp(self, u: Tensor) -> Vector:
        """Jᵀ u for u in the shape of the outputs."""
        with self._arithmetic():
            product = self.share.sum(self._vjp(u, products=True))
        self._count("vjp")
        return product

    def gauss_newton(self, v: Sequence[Tensor]) -> Vector:
        """G v = (1/n) Jᵀ H J v."""
        blocks = self._blocks_of(v)
        self._count("jvp")
        self._count("vjp")
        loss_on, total = self._loss_on(), None if len(self.slices) == 1 else self.blocks.zeros_like()
        with self._arithmetic():
            for rows, graph in self._graphs(products=True):  # both halves on one rebuilt graph
                if total is None:
                    total = self._product(graph, loss_on(rows, graph), blocks)
                else:  # without a name for the product, which would keep it beside the next one
                    total.add_(self._product(graph, loss_on(rows, graph), blocks))
            assert total is not None  # a batch is never empty
            return self.share.sum(self.layout.pack(total))

    @property
    def replayed(self) -> ReplayedChain | None:
        """The tape if its products are always the same kernels on the same memory, which CUDA graphs require."""
        if len(self.slices) > 1 or self.share.ranks is not ALONE:
            return None
        kept = self._kept(products=True)
        return kept if isinstance(kept, ReplayedChain) else None

    # ------------------------------------------------------------ products with several vectors at once

    def jvp_columns(self, V: Sequence[Sequence[Tensor]]) -> Tensor:
        """J v for each of k vectors, in the shape of the outputs with k columns after the cases.

        As k calls of `jvp` up to rounding, and counted as these, but for the graphs of a streamed batch, which are
        rebuilt once. In a chain of dense layers all columns share each matrix product.
        """
        return self.jvp_parts(V, [range(len(self.blocks))])

    def jvp_parts(self, V: Sequence[Sequence[Tensor]], groups: Groups) -> Tensor:
        """J v for each part of each of k vectors: as `jvp_columns`, the k columns of the first group first.

        A part has the vector's blocks at a group's positions, and zero elsewhere; each position is in one group. In a
        chain of dense layers a part costs nothing before its first layer, and what it costs is counted.
        """
        with self._arithmetic():
            parts = [JV for _, _, JV in self._swept(V, groups)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    @cached_property
    def layers(self) -> list[list[int]]:
        """Positions of the parameters' blocks by the module that owns them, in the model's order."""
        owners = [name.rpartition(".")[0] for name in self.weights]
        positions: dict[str, list[int]] = {owner: [] for owner in owners}
        for position, owner in enumerate(owners):
            positions[owner].append(position)
        return list(positions.values())

    def vjp_columns(self, U: Tensor) -> list[Vector]:
        """Jᵀ u for each of k columns u of U, which has the shape of `jvp_columns`.

        Raises ConfigError if it has another.
        """
        k = U.shape[1] if U.dim() > 1 else 1
        self._count("vjp", k)
        totals = [self.blocks.zeros_like() for _ in range(k)]
        with self._arithmetic():
            for rows, graph in self._graphs(products=True):
                check_in_output_space(U, (self.here, k, *graph.z.shape[1:]), OF_COLUMNS)
                for total, part in zip(totals, graph.vjp_columns(U[rows]), strict=True):
                    total.add_(part)
            return [self.share.sum(self.layout.pack(total)) for total in totals]

    def gauss_newton_columns(self, V: Sequence[Sequence[Tensor]]) -> list[Vector]:
        """G v = (1/n) Jᵀ H J v for each of k vectors."""
        k, loss_on = len(V), self._loss_on()
        self._count("vjp", k)
        totals = [self.blocks.zeros_like() for _ in range(k)]
        with self._arithmetic():
            for rows, graph, JV in self._swept(V, [range(len(self.blocks))]):
                at = loss_on(rows, graph)
                HJV = torch.stack([at.hessian(Jv) for Jv in JV.unbind(1)], 1).div_(self.n)
                for total, part in zip(totals, graph.vjp_columns(HJV), strict=True):
                    total.add_(part)
            return [self.share.sum(self.layout.pack(total)) for total in totals]

    @cached_property
    def gradient(self) -> Vector:
        """(1/n) Jᵀ r, the gradient of `value`."""
        _ = self.kept  # its outputs are those of the residual
        self.ledger.count("backward", self.here)
        return self.share.sum(self._vjp(self.residual / self.n))

    # ------------------------------------------------------------ internals

    def _blocks_of(self, v: Sequence[Tensor]) -> Vector:
        return self.layout.unpack(as_vector(v, self._like))

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        with arithmetic(self.precision, self.inputs.device), changes_explained():
            yield

    def _rows(self, u: Tensor, rows: slice, graph: Tape) -> Tensor:
        """The chunk's rows of u. Raises ConfigError unless u has the shape of the outputs."""
        check_in_output_space(u, (self.here, *graph.z.shape[1:]))
        return u if len(self.slices) == 1 else u[rows]

    def _product(self, graph: Tape, at: LossAt, blocks: Vector) -> Vector:
        """The chunk's part of G v."""
        Jv = self._jvp(graph, blocks)
        HJv = at.hessian(Jv)
        return graph.vjp(HJv / self.n if HJv is Jv else HJv.div_(self.n))  # J v may be a view of v

    def _jvp(self, graph: Tape, blocks: Vector) -> Tensor:
        if not graph.is_recorded:
            self.ledger.count("transpose", len(graph.inputs))
        Jv = graph.jvp(blocks)
        self.product_mode = graph.mode
        return Jv

    def _swept(self, V: Sequence[Sequence[Tensor]], groups: Groups) -> Iterator[tuple[slice, Tape, Tensor]]:
        """The chunks' rows and graphs, with J v there of every part of the vectors."""
        columns = [self._blocks_of(v) for v in V]
        for rows, graph in self._graphs(products=True):
            if not graph.is_recorded:
                self.ledger.count("transpose", len(graph.inputs))
            share = graph.share_of_jvp(len(columns), groups)
            self.ledger.count("jvp", round(len(graph.inputs) * share))
            self.ledger.count("jvp_calls", max(1, round(share)) if rows.start == 0 else 0)
            JV = graph.jvp_parts(columns, groups)
            self.product_mode = graph.mode
            yield rows, graph, JV

    def _loss_on(self) -> Callable[[slice, Tape], LossAt]:
        """The loss at the outputs of a chunk, which have the weights' precision, not that of the products."""
        if len(self.slices) == 1:
            at = self.loss_at
            return lambda rows, graph: at
        z = self.outputs if self.differs else None
        return lambda rows, graph: LOSSES[self.loss](graph.z.detach() if z is None else z[rows], self.targets[rows])

    def _vjp(self, u: Tensor, products: bool = False) -> Vector:
        if len(self.slices) == 1:
            graph = self._kept(products)
            return self.layout.pack(graph.vjp(self._rows(u, self.slices[0], graph)))
        total = self.blocks.zeros_like()
        for rows, graph in self._graphs(products):
            total.add_(graph.vjp(self._rows(u, rows, graph)))
        return self.layout.pack(total)

    def _joined(self, parts: Iterable[Tensor]) -> Tensor:
        """The chunks' rows in one tensor, each copied when it is computed."""
        outputs: Tensor | None = vars(self).get("outputs")  # has the shape beforehand
        joined = None if outputs is None or len(self.slices) == 1 else torch.empty_like(outputs)
        coming = iter(parts)
        part = next(coming)
        if len(part) == self.here:
            return part
        if joined is None:
            joined = part.new_empty(self.here, *part.shape[1:])
        joined[self.slices[0]] = part
        del part  # not to be there beside the next one's graph
        for rows in self.slices[1:]:
            joined[rows] = next(coming)
        return joined

    def _count(self, kind: str, columns: int = 1) -> None:
        self.ledger.count(kind, self.here * columns)
        self.ledger.count(f"{kind}_calls", columns)


def check_chunk(chunk: int | None) -> int | None:
    """The chunk, None or a number of cases. Raises ConfigError for any other."""
    return None if chunk is None else whole_number(chunk, "chunk")
