"""A model linearised at its weights and a batch: products with J = dz/dw, Jᵀ and the Gauss-Newton matrix.

A chain of dense layers and activations has its products written out (`hfbench.curvature.dense_chain`). For any other
differentiable module, J·v is computed as the transpose of the transpose. One backward pass of z with a dummy u is
recorded (`create_graph`); it is the linear map u ↦ Jᵀu, and differentiating ⟨Jᵀu, v⟩ with respect to u gives J v with
two matrix products per dense layer and no retracing. Convolutions, normalisation, average pooling and recurrent layers
have derivatives of our own (`hfbench.curvature.derivative_rules`), since PyTorch's are slow. Fused kernels are replaced
by their plain twins (`hfbench.curvature.double_backward`). If an operation still has no second derivative, J·v falls
back to forward mode (one more forward pass per product), and `product_mode` is "forward".

The graphs, and what is computed of them without products, are those of `hfbench.curvature.recorded_passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import torch
from torch import Tensor

from hfbench.curvature.chain_columns import Groups
from hfbench.curvature.cuda_chain import ReplayedChain
from hfbench.curvature.loss import LOSSES, LossAt
from hfbench.curvature.recorded_passes import RecordedPasses
from hfbench.curvature.tape import Tape
from hfbench.curvature.watched_tensors import changes_explained
from hfbench.linalg.data_parallel import ALONE
from hfbench.linalg.precision import arithmetic
from hfbench.linalg.vector import Vector, as_vector, check_in_output_space

OF_COLUMNS = "the outputs' shape with the number of columns after that of cases, here"


class LinearProducts(RecordedPasses):
    """J, Jᵀ, the loss pieces and the Gauss-Newton product at one (weights, batch).

    Vectors are `hfbench.Vector` or any sequence of tensors in parameter order (in the flat layout: of one long block);
    output-space tensors have the shape of the model's outputs, cases first. Everything is counted in `ledger`, by the
    units of the model's passes (`hfbench.curvature.pass_units`).

    With `ranks`, the batch is divided among them: n, objective, gradient, products Jᵀu and G v, second moments and
    variances are those of all cases, the same on every rank. Output-space tensors and the counts of the ledger are
    those of the rank's own cases.
    """

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

    def gram_of_parts(self, V: Sequence[Sequence[Tensor]], groups: Groups) -> tuple[Tensor, Tensor | None]:
        """(JV)ᵀH(JV)/n of the parts in float64, and J v of each, unless the batch is streamed: these would not fit."""
        loss_on, total, kept = self._loss_on(), None, None
        with self._arithmetic():
            for rows, graph, JV in self._swept(V, groups):
                Q = loss_on(rows, graph).factor_t(JV.transpose(0, 1)).flatten(1)  # parts × (cases, outputs)
                gram = (Q @ Q.T).double()
                total = gram if total is None else total.add_(gram)
                kept = JV if len(self.slices) == 1 else None
        assert total is not None  # a batch is never empty
        return self.share.sum(Vector((total.div_(self.n),)))[0].cpu(), kept

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
                HJV = at.hessian(JV.transpose(0, 1)).transpose(0, 1) / self.n
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
            transposed = graph.vjp if products else graph.gradient
            return self.layout.pack(transposed(self._rows(u, self.slices[0], graph)))
        total = self.blocks.zeros_like()
        for rows, graph in self._graphs(products):
            transposed = graph.vjp if products else graph.gradient
            total.add_(transposed(self._rows(u, rows, graph)))
        return self.layout.pack(total)

    def _count(self, kind: str, columns: int = 1) -> None:
        self.ledger.count(kind, self.here * columns)
        self.ledger.count(f"{kind}_calls", columns)
