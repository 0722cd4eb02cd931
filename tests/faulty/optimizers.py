"""Baselines with one mistake each that a person could make, and the check of the contract that must tell.

`caught_by` names the check, `says` what its message must speak of.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.curvature.loss import LOSSES
from hfbench.curvature.weight_decay import decay_penalty
from hfbench.curvature.work_ledger import Ledger
from hfbench.errors import ConfigError
from hfbench.linalg.vector import Vector
from hfbench.testing.contract import flat


class Row:
    def __init__(self, **values: Any) -> None:
        self.values = values

    def to_row(self) -> dict[str, Any]:
        return self.values


class Momentum:
    """Gradient descent with momentum, right in all that a subclass does not replace."""

    lr = 0.02

    def __init__(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> None:
        self.model, self.loss, self.mu_D, self.ledger = model, LOSSES[loss], mu_D, Ledger()
        self.weights = list(model.parameters())
        self.velocity = Vector(torch.zeros_like(w) for w in self.weights)

    def step(
        self,
        inputs: Tensor,
        targets: Tensor,
        curvature: tuple[Tensor, Tensor] | None = None,
        evidence: Collection[str] = (),
    ) -> Row:
        self.check(evidence)
        self.count(len(inputs))
        g = self.gradient(inputs, targets)
        self.velocity = self.velocity * 0.9 + g
        with torch.no_grad():
            for weight, v in zip(self.weights, self.velocity, strict=True):
                weight.sub_(v, alpha=self.lr)
        return self.row(g)

    def check(self, evidence: Collection[str]) -> None:
        if evidence:
            raise ConfigError(f"there is no {', '.join(evidence)} to be had.")

    def count(self, n: int) -> None:
        self.ledger.count("forward", n)
        self.ledger.count("backward", n)

    def gradient(self, inputs: Tensor, targets: Tensor) -> Vector:
        z = self.model(inputs)
        residual = self.loss(z.detach(), targets).residual() / len(inputs)
        return Vector(torch.autograd.grad(z, self.weights, residual)) + self.decay()

    def decay(self) -> Vector:
        return Vector(weight.detach() for weight in self.weights) * self.mu_D

    def row(self, g: Vector) -> Row:
        return Row(gradient_norm=g.norm(), objective_after=None)

    def state_dict(self) -> dict[str, Any]:
        return {"velocity": list(self.velocity)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.velocity = Vector(state_dict["velocity"])


class HonestMomentum:
    """Gradient descent with momentum, as a baseline."""

    method: type[Momentum] = Momentum

    def begin(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> Momentum:
        return self.method(model, loss, mu_D)


class HonestPreparation(HonestMomentum):
    """Tries a batch, and keeps nothing of it."""

    class method(Momentum):
        def prepare(self, inputs: Tensor, targets: Tensor, *others: Any) -> None:
            self.gradient(inputs, targets)


class HonestDescent(HonestMomentum):
    """Without memory: nothing in its state."""

    class method(Momentum):
        def step(self, *args: Any, **others: Any) -> Row:
            self.velocity = self.velocity.zeros_like()
            return super().step(*args, **others)

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            pass


class StepsGiveNothing(HonestMomentum):
    """Does its step and says nothing."""

    caught_by, says = "test_begins_an_optimizer", "but None, where to_row is missing"

    class method(Momentum):
        def row(self, g: Vector) -> Row:
            return None


class NoLedger(HonestMomentum):
    """Keeps no account of its work."""

    caught_by, says = "test_begins_an_optimizer", "ledger is missing"

    class method(Momentum):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            del self.ledger

        def count(self, n: int) -> None: ...


class NoState(HonestMomentum):
    """Says it has no state by a state that is none."""

    caught_by, says = "test_begins_an_optimizer", "what `state_dict` returns to be a dictionary but None"

    class method(Momentum):
        def state_dict(self) -> dict[str, Any]:
            return None


class Climbs(HonestMomentum):
    """Goes along the gradient, not against it."""

    caught_by, says = "test_lowers_the_objective", "an objective below"

    class method(Momentum):
        lr = -0.02


class DropsTheDecay(HonestMomentum):
    """Has no use for mu D and puts zeros in its place."""

    caught_by, says = "test_takes_the_weight_decay", "as handed over"

    class method(Momentum):
        def __init__(self, model: nn.Module, loss: str, mu_D: tuple[float, ...]) -> None:
            super().__init__(model, loss, (0.0,) * len(mu_D))


class KeepsTheDecayOnly(HonestMomentum):
    """Keeps mu D and takes the gradient without it."""

    caught_by, says = "test_takes_the_weight_decay", "mu_D is kept, but not minimised"

    class method(Momentum):
        def gradient(self, inputs: Tensor, targets: Tensor) -> Vector:
            return super().gradient(inputs, targets) - self.decay()


class CountsNothing(HonestMomentum):
    """Leaves the ledger empty."""

    caught_by, says = "test_counts_its_work", "work in the ledger"

    class method(Momentum):
        def count(self, n: int) -> None:
            pass


class CountsForwardAlone(HonestMomentum):
    """Counts a pass over the cases as one unit."""

    caught_by, says = "test_counts_its_work", "1.00"

    class method(Momentum):
        def count(self, n: int) -> None:
            self.ledger.count("forward", n)


class TellsNothing(HonestMomentum):
    """Returns the gradient's norm under a name of its own."""

    caught_by, says = "test_tells_of_its_step", "without gradient_norm and objective_after"

    class method(Momentum):
        def row(self, g: Vector) -> Row:
            return Row(norm=g.norm())


class IgnoresEvidence(HonestMomentum):
    """Takes the argument and gives no evidence."""

    caught_by, says = "test_tells_of_its_step", "variance_l1"

    class method(Momentum):
        def check(self, evidence: Collection[str]) -> None:
            pass


class RowHoldsTensors(HonestMomentum):
    """Leaves the gradient's norm a tensor."""

    caught_by, says = "test_tells_of_its_step", "gradient_norm is a tensor of shape ()"

    class method(Momentum):
        def row(self, g: Vector) -> Row:
            return Row(gradient_norm=torch.tensor(g.norm()), objective_after=None)


class NormIsMissing(HonestMomentum):
    """Has an entry for the gradient's norm, and nothing in it."""

    caught_by, says = "test_tells_of_its_step", "gradient_norm is None"

    class method(Momentum):
        def row(self, g: Vector) -> Row:
            return Row(gradient_norm=None, objective_after=None)


class EvidenceIsNone(HonestMomentum):
    """Has an entry for the evidence that it does not measure."""

    caught_by, says = "test_tells_of_its_step", "variance_l1, a number"

    class method(Momentum):
        def check(self, evidence: Collection[str]) -> None:
            pass

        def row(self, g: Vector) -> Row:
            return Row(gradient_norm=g.norm(), objective_after=None, variance_l1=None, variance_inner=None)


class HonestMinibatches(HonestMomentum):
    """Steps on four cases at a time, and tells the norm of the last gradient, f after the step, and the variances."""

    class method(Momentum):
        def step(self, inputs: Tensor, targets: Tensor, curvature: Any = None, evidence: Collection[str] = ()) -> Row:
            before = [weight.detach().clone() for weight in self.weights]
            told = self.variances(inputs, targets) if evidence else {}
            for start in range(0, len(inputs), 4):
                row = super().step(inputs[start : start + 4], targets[start : start + 4])
            moved = Vector(weight.detach() for weight in self.weights) - before
            told |= {"step_norm": moved.norm(), "objective_after": self.f(inputs, targets)}
            return Row(**{**row.values, **told})

        def f(self, inputs: Tensor, targets: Tensor) -> float:
            self.ledger.count("forward", len(inputs))
            with torch.no_grad():
                mean = float(self.loss(self.model(inputs), targets).value().mean())
            return mean + decay_penalty([weight.detach() for weight in self.weights], self.mu_D)

        def variances(self, inputs: Tensor, targets: Tensor) -> dict[str, float]:
            each = torch.stack([flat(self.gradient(x[None], t[None])) for x, t in zip(inputs, targets, strict=True)])
            return {"variance_l1": float(each.var(0).sum()), "variance_inner": float((each @ each.mean(0)).var())}


class TellsAnotherObjective(HonestMomentum):
    """Tells f before the step as that after it."""

    caught_by, says = "test_reports_true_values", "objective_after = "

    class method(Momentum):
        def step(self, inputs: Tensor, targets: Tensor, *others: Any, **more: Any) -> Row:
            with torch.no_grad():
                before = float(self.loss(self.model(inputs), targets).value().mean())
            row = super().step(inputs, targets, *others, **more)
            return Row(**{**row.values, "objective_after": before})


class HalvesTheNorm(HonestMomentum):
    """Tells half of the norm."""

    caught_by, says = "test_reports_true_values", "gradient_norm = "

    class method(Momentum):
        def row(self, g: Vector) -> Row:
            return Row(gradient_norm=0.5 * g.norm(), objective_after=None)


class TellsTheVarianceOfTheMean(HonestMomentum):
    """Divides the cases' variance by their number."""

    caught_by, says = "test_reports_true_values", "variance_l1 = "

    class method(HonestMinibatches.method):
        def variances(self, inputs: Tensor, targets: Tensor) -> dict[str, float]:
            return {name: value / len(inputs) for name, value in super().variances(inputs, targets).items()}


class CentresItsInputs(HonestMomentum):
    """Subtracts the inputs' mean where they lie."""

    caught_by, says = "test_leaves_its_batch_alone", "the inputs changed in place"

    class method(Momentum):
        def step(self, inputs: Tensor, *others: Any, **more: Any) -> Row:
            return super().step(inputs.sub_(inputs.mean(0)), *others, **more)


class CentresWhatItPrepares(HonestMomentum):
    """Does so beforehand, with the curvature's inputs."""

    caught_by, says = "test_leaves_its_batch_alone", "the curvature's inputs changed in place"

    class method(Momentum):
        def prepare(self, inputs: Tensor, targets: Tensor, curvature: Any = None, evidence: Any = ()) -> None:
            if curvature is not None:
                curvature[0].sub_(curvature[0].mean(0))


class KnowsOneBatch(HonestMomentum):
    """Has no place for curvature cases."""

    caught_by, says = "test_takes_other_cases_for_the_curvature", "TypeError"

    class method(Momentum):
        def step(self, inputs: Tensor, targets: Tensor, evidence: Collection[str] = ()) -> Row:
            return super().step(inputs, targets, None, evidence)


class StepsToPrepare(HonestMomentum):
    """Tries a batch by taking a step on it."""

    caught_by, says = "test_prepares_without_a_step", "other weights at once"

    class method(Momentum):
        def prepare(self, *batch: Any) -> None:
            self.step(*batch)


class RemembersWhatItPrepared(HonestMomentum):
    """Leaves the weights alone, and keeps the gradient that it tried."""

    caught_by, says = "test_prepares_without_a_step", "other weights"

    class method(Momentum):
        def prepare(self, inputs: Tensor, targets: Tensor, *others: Any) -> None:
            self.velocity = self.gradient(inputs, targets)


class Noisy(HonestMomentum):
    """Adds noise to the gradient by torch's global generator."""

    caught_by, says = "test_is_deterministic", "torch's global generator"

    class method(Momentum):
        def gradient(self, inputs: Tensor, targets: Tensor) -> Vector:
            return Vector(g + 0.01 * torch.randn_like(g) for g in super().gradient(inputs, targets))


class ForgetsTheMomentum(HonestMomentum):
    """Saves nothing."""

    caught_by, says = "test_resumes_where_it_stopped", "state_dict"

    class method(Momentum):
        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            pass


class SavesObjects(HonestMomentum):
    """Saves a Vector, which no checkpoint may hold."""

    caught_by, says = "test_resumes_where_it_stopped", "hfbench.linalg.vector.Vector"

    class method(Momentum):
        def state_dict(self) -> dict[str, Any]:
            return {"velocity": self.velocity}
