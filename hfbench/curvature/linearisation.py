"""A model linearised at its weights and a batch: products (`linear_products`) and second moments over the cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from hfbench.curvature.block_factors import BlockFactors, DiagonalFactor
from hfbench.curvature.kronecker_factors import Bases, Block, LayerFactors, add_layer_squares, layer_factors
from hfbench.curvature.linear_products import LinearProducts
from hfbench.curvature.row_gram import LayerRows, add_gram_of, joined, layer_rows, symmetric
from hfbench.curvature.second_moments import case_gradients, squared_norms, squared_sums, squared_sums_of
from hfbench.curvature.tape import Tape
from hfbench.errors import ConfigError
from hfbench.linalg.data_parallel import ALONE
from hfbench.linalg.vector import Vector


class Linearisation(LinearProducts):
    """Products with J, Jᵀ and the Gauss-Newton matrix at one (weights, batch), and second moments over its cases."""

    def squared_sums(self, u: Tensor) -> Vector:
        """Σ_i (J_iᵀu_i)∘(J_iᵀu_i), shaped like the parameters; u in the shape of the outputs."""
        self.ledger.count("squares", self.here)
        total = self.blocks.zeros_like()
        for rows, graph in self._graphs():
            v = self._rows(u, rows, graph)
            total.add_(squared_sums(self.model, self.inputs[rows], graph.z, graph.capture, v, self.weights))
        return self.share.sum(self.layout.pack(total))

    def squared_norms(self, u: Tensor) -> float:
        """Σ_i ‖J_iᵀu_i‖², summed in float64."""
        self.ledger.count("norms", self.here)
        model, x, weights = self.model, self.inputs, self.weights
        each = (
            squared_norms(model, x[rows], graph.z, graph.capture, self._rows(u, rows, graph), weights)
            for rows, graph in self._graphs()
        )
        return self.share.total(sum(each))

    def signs(self, generator: torch.Generator) -> Tensor:
        """Random signs ±1 for every output of every case; returns the rows of this rank's cases."""
        z = self.outputs
        drawn = torch.randint(0, 2, (self.n, *z.shape[1:]), generator=generator, dtype=z.dtype, device=generator.device)
        return self.share.rows(drawn).to(z.device).mul_(2).sub_(1)

    def kronecker_factors(self, probes: Sequence[Tensor]) -> list[BlockFactors]:
        """L and R of every layer's block of G ≈ L ⊗ R, means over cases and over probes u, shaped like the outputs.

        Parameters without such factors (`hfbench.curvature.kronecker_factors`) have the diagonal of their block. Raises
        ConfigError if no layer has factors.
        """
        totals: list[BlockFactors] = []
        for rows, graph in self._graphs():
            parts = self._factors_of_rows(rows, graph, probes)
            for total, part in zip(totals, parts, strict=False):
                total.add_(part)
            totals = totals or parts
        self.ledger.count("deltas", self.here * len(probes))
        spent = sum(block.spent for block in totals if isinstance(block, LayerFactors))
        passes = spent / sum(block.pass_cost for block in totals)
        self.ledger.count("algebra", round(self.here * passes))
        self.share.sum_(tensor for block in totals for tensor in block.tensors)
        return [block.mean_(self.n) for block in totals]

    def layer_squares(self, probes: Sequence[Tensor], bases: Bases) -> dict[Block, Tensor]:
        """Mean squares of gradients in the eigenvectors of the Kronecker factors, over cases and probes u.

        Of every block of `kronecker_factors` that has such factors, by its positions.
        """
        totals = {block: Q_L.new_zeros(len(Q_L), len(Q_R)) for block, (Q_L, Q_R) in bases.items()}
        for rows, graph in self._graphs():
            for u in probes:
                add_layer_squares(totals, graph.z, graph.capture, u[rows], bases)
        self.ledger.count("deltas", self.here * len(probes))
        self.share.sum_(totals.values())
        return {block: total.div_(self.n * len(probes)) for block, total in totals.items()}

    def row_gram(self, scales: Sequence[float]) -> Tensor:
        """K = Σ_b s_b J̃_b J̃_bᵀ over the parameter blocks b, J̃ = Bᵀ J/√n: float64, a row for each output of each case.

        Raises ConfigError where the batch is divided among processes.
        """
        if self.share.ranks is not ALONE:
            raise ConfigError(
                "the inner products of all rows need all cases in one process, but the batch is divided among several: "
                "use another solver, or one process."
            )
        U = self._of_each_output()
        K = torch.zeros(self.outputs.numel(), self.outputs.numel(), dtype=torch.float64, device=self.inputs.device)
        layers: list[list[LayerRows]] = []
        for rows, graph in self._graphs():
            if not graph.capture.explains(graph.z):
                return self._gram_of_gradients(K, U, scales)
            passes = [list(graph.capture.passes(graph.z, u[rows])) for u in U]
            layers.append(list(layer_rows(passes, graph.capture.trained)))
        spent = cost = 0.0
        for chunks in zip(*layers, strict=True):
            layer = joined(chunks)
            layer.add_gram(K, scales)
            spent, cost = spent + layer.spent, cost + layer.pass_cost
        self.ledger.count("deltas", len(K))
        self.ledger.count("algebra", round(spent / cost))
        return symmetric(K)

    def _of_each_output(self) -> list[Tensor]:
        """B e_j/√n for each output j of every case, in the shape of the outputs."""
        units = torch.eye(self.outputs[0].numel(), dtype=self.outputs.dtype, device=self.outputs.device)
        of_cases = (unit.view(1, *self.outputs.shape[1:]).expand_as(self.outputs) for unit in units)
        return [self.loss_at.factor(unit / math.sqrt(self.n)) for unit in of_cases]

    def _gram_of_gradients(self, K: Tensor, U: Sequence[Tensor], scales: Sequence[float]) -> Tensor:
        """K from the gradients of all rows, for models that have more than layers of their own."""
        u, inputs = torch.stack(tuple(U), 1).flatten(0, 1), self.inputs.repeat_interleave(len(U), 0)
        slices = list(case_gradients(self.model, inputs, u, self.weights))
        for scale, parts in zip(scales, zip(*slices, strict=True), strict=True):
            add_gram_of(torch.cat([part.flatten(1).double() for part in parts]), K, scale)
        self.ledger.count("squares", len(K))
        return symmetric(K)

    def _factors_of_rows(self, rows: slice, graph: Tape, probes: Sequence[Tensor]) -> list[BlockFactors]:
        """The sums over a chunk, by the first parameter of each block."""
        blocks: list[BlockFactors] = [*layer_factors(graph.z, graph.capture, [u[rows] for u in probes])]
        have = {i for block in blocks for i in block.positions}
        rest = [i for i in range(len(self.blocks)) if i not in have]
        if not rest:
            return sorted(blocks, key=lambda block: block.positions)
        self.ledger.count("squares", (rows.stop - rows.start) * len(probes))
        names = [list(self.weights)[i] for i in rest]
        squares = [squared_sums_of(names, self.model, self.inputs[rows], u[rows], self.weights) for u in probes]
        blocks += [
            DiagonalFactor(i, sum(of_probe[1:], of_probe[0]) / len(probes))
            for i, of_probe in zip(rest, zip(*squares, strict=True), strict=True)
        ]
        return sorted(blocks, key=lambda block: block.positions)

    @cached_property
    def variance_l1(self) -> float:
        """‖Var_i(∇f_i)‖₁ = (Σ_i ‖g_i‖² - n‖ḡ‖²)/(n - 1), the sample variance of Byrd et al. (2012), section 3.

        Weight decay is the same for every case and drops out. NaN if a gradient is NaN. Raises ConfigError for a single
        case.
        """
        self._check_variance()
        mean = self.gradient.norm()
        variance = (self.squared_norms(self.residual) - self.n * mean * mean) / (self.n - 1)
        return 0.0 if variance < 0 else variance  # below zero by rounding alone; max() would swallow a NaN

    def variance_along(self, v: Sequence[Tensor]) -> float:
        """Var_i(g_iᵀv), the sample variance of the cases' slopes along v, summed in float64.

        One product J v gives all of them: g_iᵀv = r_iᵀ(J v)_i. It counts as a pass, but not among the ledger's
        `products`, since it is no part of an inner solve. NaN if a gradient is NaN. Raises ConfigError for a single
        case.
        """
        self._check_variance()
        blocks = self._blocks_of(v)
        self.ledger.count("jvp", self.here)
        Jv = self._joined(self._jvp(graph, blocks) for _, graph in self._graphs())
        return self.share.variance((self.residual.double() * Jv.double()).reshape(self.here, -1).sum(1))

    def _check_variance(self) -> None:
        if self.n < 2:
            raise ConfigError("the variance of the gradient needs at least two cases, but the batch has one.")
