"""Contract of tasks: data and model of the right form, the same for one seed, disjoint splits, checked files."""

from __future__ import annotations

import torch
from torch import Tensor

from hfbench.curvature.checked_linearisation import linearize
from hfbench.parts.shown_outputs import HasField, HasPictures
from hfbench.runs.evaluation import error_of_mean
from hfbench.testing.contract import global_seed, largest_difference, require
from hfbench.testing.task_data import FEW, PAIRED, TaskDataContract


class TaskContract(TaskDataContract):
    """Contract of a task (hfbench/parts/protocols.py, `Task`): its data, its model and its error."""

    # ------------------------------------------------------------ model

    def test_model_is_the_same_for_a_seed(self) -> None:
        (once, state), (again, _), (_, of_other) = (self._made(*seeds) for seeds in ((0, 1), (0, 2), (1, 2)))
        require(
            all(torch.equal(a, b) for a, b in zip(once, again, strict=True)),
            "the same initial weights from generators of one seed",
            "others",
            PAIRED,
        )
        require(
            not torch.equal(state, of_other),
            "torch's global generator left alone, or seeded by the generator that is handed over",
            "it was set to a constant: the same weights for every seed",
            "runs that differ in nothing but their batches give intervals that are too narrow",
        )
        shared = {weight.data_ptr() for weight in once if weight.numel()} & {weight.data_ptr() for weight in again}
        require(not shared, "new weights at every call", "those of an earlier model", "one run would train another's")
        kinds = {weight.dtype for weight in once}
        require(kinds == {torch.float32}, "weights in float32", f"{kinds}", "precision is a setting of the study")

    def test_model_and_loss_fit_the_data(self) -> None:
        """Loss, gradient and Gauss-Newton product are finite at the initial weights."""
        task, model, (inputs, targets) = self.task(), self._model(), self._few()
        z = model(inputs)
        require(
            isinstance(z, Tensor) and len(z) == len(inputs) and bool(z.isfinite().all()),
            f"finite outputs, one for each of {len(inputs)} cases, before any final activation",
            f"shape {tuple(z.shape)}" if isinstance(z, Tensor) else f"a {type(z).__name__}",
            "the loss is taken of them case by case",
        )
        last = type(z.grad_fn).__name__.removesuffix("Backward0")
        require(
            task.loss == "least-squares" or last not in ("Sigmoid", "Softmax"),
            f"outputs before the final activation, which the {task.loss} loss contains",
            f"those of a {last}",
            "with the activation taken twice the loss is not convex in the outputs, and gradients vanish",
        )
        at = linearize(model, task.loss, inputs, targets)
        norm = at.gradient.norm()
        require(norm > 0, "a gradient at the initial weights", f"‖g‖ = {norm}", "else there is nothing to train")
        product = at.gauss_newton(at.gradient)
        curvature = at.gradient.dot(product)
        require(
            product.isfinite() and curvature >= 0,
            "gᵀGg >= 0 and finite: the model can be differentiated twice",
            f"gᵀGg = {curvature}",
            "the Gauss-Newton matrix is positive semidefinite by its making",
        )

    def test_cases_do_not_see_one_another(self) -> None:
        model, (inputs, _) = self._model(), self._few()
        with torch.no_grad():
            together, again, half = model(inputs), model(inputs), model(inputs[: FEW // 2])
        require(
            torch.equal(together, again),
            "the same outputs when the model is called again",
            f"a difference of {largest_difference(again, together):.1e}: a random layer such as dropout",
            "line search and backtracking compare objectives of one function",
        )
        why = "curvature is a mean over cases; batches and chunks must not change what is computed"
        off = largest_difference(half, together[: FEW // 2])
        require(
            off <= 1e-4,
            "a case's output to be the same whatever other cases are in the batch",
            f"a difference of {off:.1e}: a layer that mixes cases, such as batch norm",
            why,
        )
        with torch.no_grad():
            alone = model(inputs[:1])
        require(
            alone.shape == together[:1].shape and largest_difference(alone, together[:1]) <= 1e-4,
            f"the output of one case alone as in a batch, of shape {tuple(together[:1].shape)}",
            f"shape {tuple(alone.shape)}" if alone.shape != together[:1].shape else "another",
            why,
        )

    # ------------------------------------------------------------ error and target

    def test_error_is_per_case(self) -> None:
        model, (inputs, targets) = self._model(), self._few()
        with torch.no_grad():
            z = model(inputs)
            errors = self._error(z, targets)
            one = self._error(z[:1], targets[:1])
        require(
            errors.shape == (len(inputs),) and bool(errors.isfinite().all()) and bool((errors >= 0).all()),
            f"one finite error >= 0 per case, shape ({len(inputs)},)",
            f"shape {tuple(errors.shape)}, from {float(errors.min()):.3g} to {float(errors.max()):.3g}",
            "the test error is their mean over all cases, taken in chunks",
        )
        require(
            largest_difference(one, errors[:1]) <= 1e-5,
            "a case's error to be its own",
            f"{float(one[0]):.6g} alone, {float(errors[0]):.6g} among others",
            "as above",
        )

    def test_target_is_not_met_at_the_start(self) -> None:
        task, model, data = self.task(), self._model(), self._data()
        some = slice(0, 1000)
        with torch.no_grad():
            mean = float(self._error(model(data.test.inputs[some]), data.test.targets[some]).mean())
        error = error_of_mean(task, mean)
        require(
            error > task.target,
            f"an initial test error above the target {task.target:g}",
            f"{error:.4g}",
            "every method would be done before its first step",
        )

    def test_pictures_are_images(self) -> None:
        """A task with `pictures` gives two tensors, outputs and targets, (cases × height × width)."""
        task, model, (inputs, targets) = self.task(), self._model(), self._few()
        if not isinstance(task, HasPictures):
            return
        with torch.no_grad():
            pictures = task.pictures(model(inputs), targets)
        shapes = [tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__ for image in pictures]
        require(
            len(shapes) == 2 and shapes[0] == shapes[1] and len(shapes[0]) == 3 and shapes[0][0] == len(inputs),
            f"two tensors of {len(inputs)} images, cases × height × width, of one shape",
            f"{' and '.join(map(str, shapes))}",
            "a report shows outputs next to their targets",
        )

    def test_field_is_of_all_test_cases(self) -> None:
        """A task with `field` arranges all test cases on a grid: outputs equal to the targets give the solution."""
        task, test = self.task(), self._data().test
        field = task.field(test.targets, test.targets) if isinstance(task, HasField) else None
        if field is None:
            return
        shapes = tuple(field.prediction.shape), tuple(field.solution.shape)
        require(
            shapes[0] == shapes[1] and len(shapes[0]) == 2 and field.prediction.numel() == len(test),
            f"prediction and solution of one shape, height × width, with {len(test)} points",
            f"{shapes[0]} and {shapes[1]}",
            "a report shows both",
        )
        require(
            torch.equal(field.prediction, field.solution),
            "the same arrangement of outputs and targets",
            "other numbers",
            "their difference is shown as the error",
        )
        left, right, bottom, top = field.extent
        require(
            left < right and bottom < top and len(field.axes) == 2,
            "two axes whose ends increase",
            f"{field.axes} from {field.extent}",
            "the report draws them",
        )

    # ------------------------------------------------------------ helpers

    def _made(self, seed: int, of_torch: int) -> tuple[list[Tensor], Tensor]:
        """A model's weights, and the final state of torch's global generator, which was seeded before."""
        with global_seed(of_torch):
            return list(self._model(seed).parameters()), torch.get_rng_state()
