"""Values that a step reports, recomputed in float64 from PyTorch's own losses and its autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from hfbench.testing.contract import flat
from hfbench.testing.problems import Problem, shaped

SUMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "least-squares": lambda z, t: 0.5 * (z - t).square().sum(),
    "logistic": lambda z, t: functional.binary_cross_entropy_with_logits(z, t, reduction="sum"),
    "softmax": lambda z, t: functional.cross_entropy(z, t, reduction="sum"),
}


class HeldWeights:
    """`with HeldWeights(model, inputs) as held:` lists the weights that the model had at its forward passes.

    With each pass come the rows of the inputs that it was made on; None if it was made on others.
    """

    def __init__(self, model: nn.Module, inputs: Tensor) -> None:
        self.model, self.parameters, self.inputs = model, list(model.parameters()), inputs.clone()
        self.passes: list[tuple[Tensor, Tensor | None]] = []

    def __enter__(self) -> HeldWeights:
        self.handle = self.model.register_forward_pre_hook(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        self.handle.remove()

    def _note(self, model: nn.Module, given: tuple[Any, ...]) -> None:
        self.passes.append((flat(self.parameters), self._rows(given[0])))

    def _rows(self, x: Tensor) -> Tensor | None:
        if x.shape[1:] != self.inputs.shape[1:]:
            return None
        same = (x.detach()[:, None] == self.inputs[None]).all(2)
        return same.int().argmax(1) if same.any(1).all() else None


class StepReference:
    """f of a problem on one batch, and its gradients, at any weights."""

    def __init__(self, problem: Problem, inputs: Tensor, targets: Tensor) -> None:
        self.problem, self.model = problem, copy.deepcopy(problem.model).double()
        self.inputs = inputs.double()
        self.targets = targets.double() if targets.is_floating_point() else targets.clone()

    def objective(self, w: Tensor) -> float:
        return float(self._f(w, torch.arange(len(self.inputs))))

    def gradient(self, w: Tensor, rows: Tensor | None = None) -> Tensor:
        """∇f, on all cases or on some of them."""
        w = w.clone().requires_grad_()
        rows = torch.arange(len(self.inputs)) if rows is None else rows
        return torch.autograd.grad(self._f(w, rows), w)[0]

    def gradient_norms(self, held: HeldWeights, *points: Tensor) -> list[float]:
        """‖∇f‖ at these points and the weights held, on all cases, and on those of each pass."""
        on_all = [self.gradient(w) for w in (*points, *(w for w, _ in held.passes))]
        on_some = [self.gradient(w, rows) for w, rows in held.passes if rows is not None]
        return [float(gradient.norm()) for gradient in on_all + on_some]

    def evidence(self, w: Tensor) -> dict[str, float]:
        """The entries of STEP_EVIDENCE at these weights."""
        each = torch.stack([self.gradient(w, torch.tensor([row])) for row in range(len(self.inputs))])
        along = each @ self.gradient(w)
        return {"variance_l1": float(each.var(0).sum()), "variance_inner": float(along.var())}

    def _f(self, w: Tensor, rows: Tensor) -> Tensor:
        """f on these cases."""
        blocks = shaped(w, list(self.model.parameters()))
        named = {name: block for (name, _), block in zip(self.model.named_parameters(), blocks, strict=True)}
        z = functional_call(self.model, named, (self.inputs[rows],))
        decay = sum(mu * block.square().sum() for mu, block in zip(self.problem.mu_D, blocks, strict=True))
        return SUMS[self.problem.loss](z, self.targets[rows]) / len(rows) + 0.5 * decay
