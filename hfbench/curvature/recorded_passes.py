"""Passes of a batch through a model at fixed weights: the graphs that products are made on, outputs and loss.

The graph is built at the first product, kept for all of an outer iteration's products, and freed with the object.
With `chunk`, batches are streamed: no graph outlives its chunk, and each product rebuilds the graphs (one more forward
pass and, for J v, one more recorded transpose, both counted). The results are the same up to the order of summation.

With a `precision` of another dtype (`hfbench.linalg.precision`), one more forward pass records a separate graph for the
products. Outputs, loss and gradient have the weights' dtype. With `gradient_precision` "products" there is that one
graph alone: outputs and gradient are rounded like products, the loss and its derivatives by z are not. Second moments
have the weights' dtype or that of the gradient.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Self

import torch
from torch import Tensor, nn

from hfbench.curvature.chain_links import links_of
from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.feature_scale import said_of_large
from hfbench.curvature.loss import LOSSES, LossAt, check_loss, check_targets
from hfbench.curvature.model_checks import check_batch, outputs_of
from hfbench.curvature.pass_units import units_of
from hfbench.curvature.tape import Tape, record_tape
from hfbench.curvature.watched_tensors import Watched
from hfbench.curvature.weights_by_name import checksums, outputs_with, own_weights, weights_changed
from hfbench.curvature.work_ledger import Ledger, PartsLedger, ledger_of
from hfbench.errors import ConfigError, NonFiniteError
from hfbench.linalg.data_parallel import ALONE, Ranks
from hfbench.linalg.layout import layout_of
from hfbench.linalg.precision import Precision, precision_of
from hfbench.linalg.vector import Vector
from hfbench.memory.allocations import case_slices
from hfbench.memory.freed_memory import keep_freed_memory
from hfbench.setting_checks import one_of, whole_number

GRADIENT_PRECISIONS = ("parameters", "products")


class RecordedPasses:
    """The passes of one batch, at one point."""

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
        gradient_precision: str = "parameters",
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
        self.casts_gradient = check_gradient_precision(gradient_precision) == "products" and self.casts
        ledger_of(self.ledger).units = units_of(model, self.inputs)
        self.product_mode = "transpose"
        self.rewritten: list[str] | None = None  # weights that a forward pass changed, once there was one
        self.watched = Watched({"the inputs": inputs, "the targets": targets}, model)
        if not self.casts or self.casts_gradient:  # else it may not be needed
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
        """The graph of the whole batch, in the gradient's dtype; None if the batch is streamed."""
        return self._record(self.slices[0], cast=self.casts_gradient) if len(self.slices) == 1 else None

    @cached_property
    def kept_cast(self) -> Tape | None:
        """The same in the products' dtype, if that is another."""
        return self._record(self.slices[0], cast=True) if len(self.slices) == 1 else None

    def keep_for_products(self) -> None:
        """Frees the gradient's graph if products use another one."""
        if self.casts and not self.casts_gradient:
            _ = self.loss_at  # has what is known of the outputs
            vars(self).pop("kept", None)

    def _kept(self, products: bool) -> Tape:
        kept = self.kept_cast if products and self.casts and not self.casts_gradient else self.kept
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
        may_write = self.rewritten is None and links_of(self.model, inputs) is None  # a chain only reads them
        before = checksums(self.weights) if may_write and (self.casts_gradient or not cast) else None
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
            graph = self._record(part, cast=self.casts_gradient or (products and self.casts))
            self.check_unchanged()
            yield part, graph
            graph.free()  # whoever still has it: the next one is recorded in its place, not beside it

    @cached_property
    def outputs(self) -> Tensor:
        """z, cases first."""
        if (kept := vars(self).get("kept")) is not None:
            z: Tensor = kept.z.detach().to(self.blocks[0].dtype)
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


def check_chunk(chunk: int | None) -> int | None:
    """The chunk, None or a number of cases. Raises ConfigError for any other."""
    return None if chunk is None else whole_number(chunk, "chunk")


def check_gradient_precision(name: str) -> str:
    """Returns one of GRADIENT_PRECISIONS. Raises ConfigError for another name."""
    return one_of(name, GRADIENT_PRECISIONS, "gradient_precision")
