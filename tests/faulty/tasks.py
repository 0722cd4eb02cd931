"""Tasks with one mistake each that a person could make, and the check of the contract that must tell.

`caught_by` names the check, `says` what its message must speak of.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from hfbench.parts.data_files import DataFile, read_file
from hfbench.parts.protocols import Split, TaskData
from hfbench.parts.shown_outputs import Field


class HonestClasses:
    """Points of two classes, right in all that a subclass does not replace."""

    loss = "softmax"
    files: tuple[DataFile, ...] = ()
    decay, decay_mask, target = 1e-4, "weights", 0.1
    budget = {"passes": 100.0}

    def load(self, generator: Generator, data: str | None = None) -> TaskData:
        inputs = self.inputs(torch.Generator().manual_seed(1))
        targets = self.targets(inputs)
        order = torch.randperm(len(inputs), generator=self.splitting(generator))
        parts = self.parts(order)
        return TaskData(*(Split(inputs[chosen], targets[chosen]) for chosen in parts))

    def inputs(self, fixed: Generator) -> Tensor:
        return torch.randn(300, 4, generator=fixed)

    def targets(self, inputs: Tensor) -> Tensor:
        return (inputs.flatten(1).sum(1) > 0).long()

    def splitting(self, generator: Generator) -> Generator | None:
        return generator

    def parts(self, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return order[:200], order[200:250], order[250:]

    def model(self, generator: Generator) -> nn.Module:
        layers = self.layers()
        for weight in layers.parameters():
            with torch.no_grad():
                weight.copy_(torch.randn(weight.shape, generator=generator))
        return layers

    def layers(self) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.argmax(1) != targets).float()


class HonestRegression(HonestClasses):
    """Small images with one number each to guess, by a convolution."""

    loss, target = "least-squares", 0.01

    def inputs(self, fixed: Generator) -> Tensor:
        return torch.randn(300, 1, 6, 6, generator=fixed)

    def targets(self, inputs: Tensor) -> Tensor:
        return 10 * inputs.square().flatten(1).mean(1, keepdim=True) - 3

    def layers(self) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(32, 1))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().sum(1)


class HonestSequences(HonestRegression):
    """An output for every step of a sequence."""

    def inputs(self, fixed: Generator) -> Tensor:
        return torch.randn(300, 7, 3, generator=fixed)

    def targets(self, inputs: Tensor) -> Tensor:
        return inputs.cumsum(1)

    def layers(self) -> nn.Sequential:
        return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3))

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().flatten(1).mean(1)


class HonestHandful(HonestClasses):
    """Nine cases, of which one is there twice, and weights that are zero at first."""

    loss, target = "logistic", 0.05

    def inputs(self, fixed: Generator) -> Tensor:
        cases = torch.randn(8, 4, generator=fixed)
        return torch.cat([cases, cases[:1]])

    def targets(self, inputs: Tensor) -> Tensor:
        return (inputs.sum(1, keepdim=True) > 0).float()

    def parts(self, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return order[:5], order[5:7], order[7:]

    def model(self, generator: Generator) -> nn.Module:
        layers = nn.Linear(4, 1)
        for weight in layers.parameters():
            nn.init.zeros_(weight)
        return layers

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs.sigmoid() - targets).square().sum(1)


# ---------------------------------------------------------------- what it gives


class LoadsAPair(HonestClasses):
    """Loads inputs and targets, and leaves the splits to others."""

    caught_by, says = "test_gives_data_and_a_model", "but a tuple of length 2"

    def load(self, generator: Generator, data: str | None = None) -> TaskData:
        train = super().load(generator, data).train
        return train.inputs, train.targets


class SplitsAreArrays(HonestClasses):
    """Leaves the inputs as they were read."""

    caught_by, says = "test_gives_data_and_a_model", "train is a Split of length 200"

    def load(self, generator: Generator, data: str | None = None) -> TaskData:
        loaded = super().load(generator, data)
        return replace(loaded, train=Split(loaded.train.inputs.numpy(), loaded.train.targets))


class ModelIsAFunction(HonestClasses):
    """Gives a function, which has no parameters."""

    caught_by, says = "test_gives_data_and_a_model", "what `model` returns to be a torch.nn.Module"

    def model(self, generator: Generator) -> nn.Module:
        return super().model(generator).forward


class ErrorIsANumber(HonestClasses):
    """Gives the mean as a number."""

    caught_by, says = "test_gives_data_and_a_model", "(float)"

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return float(super().error(outputs, targets).mean())


class NamesItsFiles(HonestClasses):
    """Says what its files are called, and not how they are known."""

    caught_by, says = "test_gives_data_and_a_model", "but a tuple of length 1"
    files = ("points/points.txt",)


# ---------------------------------------------------------------- what is declared


class DecayInWords(HonestClasses):
    """Has its weight decay in quotes."""

    caught_by, says = "test_declares_what_a_study_needs", "'1e-4'"
    decay = "1e-4"


class BudgetIsANumber(HonestClasses):
    """A budget without a unit."""

    caught_by, says = "test_declares_what_a_study_needs", "`budget`: positive limits"
    budget = 100


class NeverEvaluates(HonestClasses):
    """An interval of evaluations that no step comes to."""

    caught_by, says = "test_declares_what_a_study_needs", "`evaluate_every`: a number of steps from 1"
    evaluate_every = 0


class MisspellsTheLoss(HonestClasses):
    """A loss by the name that another library gives it."""

    caught_by, says = "test_declares_what_a_study_needs", "'cross-entropy'"
    loss = "cross-entropy"


class BudgetInEpochs(HonestClasses):
    """A budget in a unit that there is none of."""

    caught_by, says = "test_declares_what_a_study_needs", "'epochs'"
    budget = {"epochs": 100}


class NoChecksum(HonestClasses):
    """A file of which any content will do."""

    caught_by, says = "test_its_files_are_checked", "a sha256"
    files = (DataFile("points/points.txt", ""),)


class DamagedFile(HonestClasses):
    """A file that is not the one of the checksum: the test puts it there."""

    caught_by, says = "test_its_files_are_checked", "sha256"
    files = (DataFile("points/damaged.txt", "0" * 64),)


class ReadsAnUnlistedFile(HonestClasses):
    """Reads a file next to its own, and lists none."""

    caught_by, says = "test_lists_the_files_that_it_reads", "not listed"

    def inputs(self, fixed: Generator) -> Tensor:
        scale = len(Path(__file__).with_name("scale.txt").read_text("utf-8"))
        return super().inputs(fixed) * scale


class RemembersTheFolder(HonestClasses):
    """Looks for its file in the first folder that it was given: the test puts it there."""

    caught_by, says = "test_searches_the_data_folder_first", "although `data` has a copy"
    files = (DataFile("points/scale.txt", hashlib.sha256(b"2").hexdigest()),)

    folders: list[str | None] = []

    def load(self, generator: Generator, data: str | None = None) -> TaskData:
        self.folders.append(data)
        read_file(self.files[0], self.folders[0])
        return super().load(generator, data)


class HonestFile(HonestClasses):
    """Reads the file that it lists, from the folder that it is given: the test puts it there."""

    files = RemembersTheFolder.files

    def load(self, generator: Generator, data: str | None = None) -> TaskData:
        read_file(self.files[0], data)
        return super().load(generator, data)


# ---------------------------------------------------------------- data


class Float64(HonestClasses):
    """Data as NumPy made them."""

    caught_by, says = "test_shapes_and_ranges", "torch.float64"

    def inputs(self, fixed: Generator) -> Tensor:
        return super().inputs(fixed).double()


class HasNaN(HonestClasses):
    """A missing value left in."""

    caught_by, says = "test_shapes_and_ranges", "1 of them not finite"

    def inputs(self, fixed: Generator) -> Tensor:
        inputs = super().inputs(fixed)
        inputs[7, 2] = torch.nan
        return inputs


class TargetsBeyondOne(HonestHandful):
    """Grey values from 0 to 255 as probabilities."""

    caught_by, says = "test_shapes_and_ranges", "outside [0, 1]"

    def targets(self, inputs: Tensor) -> Tensor:
        return 255 * super().targets(inputs)


class FloatLabels(HonestClasses):
    """Class numbers as floating-point numbers."""

    caught_by, says = "test_shapes_and_ranges", "targets of train as the softmax loss has them"

    def targets(self, inputs: Tensor) -> Tensor:
        return super().targets(inputs).float()


class MoreInputsThanTargets(HonestClasses):
    """Training inputs and targets cut at different places."""

    caught_by, says = "test_shapes_and_ranges", "200 and 190"

    def load(self, generator: Generator, data: str | None = None) -> TaskData:
        loaded = super().load(generator, data)
        return TaskData(Split(loaded.train.inputs, loaded.train.targets[:190]), loaded.validation, loaded.test)


class ValidatesOnTraining(HonestClasses):
    """Takes the validation cases from the training cases and leaves them there."""

    caught_by, says = "test_splits_are_disjoint", "validation cases that are not among those of train"

    def parts(self, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return order[:250], order[200:250], order[250:]


class ValidatesOnTest(HonestClasses):
    """Takes the test cases for validation, too."""

    caught_by, says = "test_splits_are_disjoint", "test cases that are not among those of validation"

    def parts(self, order: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return order[:200], order[200:], order[200:]


class SplitsByTorch(HonestClasses):
    """Splits by torch's global generator."""

    caught_by, says = "test_data_are_the_same_for_a_seed", "torch's global generator"

    def splitting(self, generator: Generator) -> None:
        return None


class OtherDataEachTime(HonestClasses):
    """Draws its points from a generator that goes on."""

    caught_by, says = "test_data_are_the_same_for_a_seed", "the same train cases"
    own = torch.Generator().manual_seed(5)

    def inputs(self, fixed: Generator) -> Tensor:
        return super().inputs(self.own)


class OneSplit(HonestClasses):
    """Splits by a generator of its own: the same validation cases for every seed."""

    caught_by, says = "test_generator_draws_the_validation_cases", "other validation cases"

    def splitting(self, generator: Generator) -> Generator:
        return torch.Generator().manual_seed(2)


# ---------------------------------------------------------------- model


class OneModel(HonestClasses):
    """Makes its model once, and sets its weights anew."""

    caught_by, says = "test_model_is_the_same_for_a_seed", "those of an earlier model"
    made = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))

    def layers(self) -> nn.Sequential:
        return self.made


class InitialisedByTorch(HonestClasses):
    """Leaves the weights as torch's layers initialise themselves."""

    caught_by, says = "test_model_is_the_same_for_a_seed", "initial weights"

    def model(self, generator: Generator) -> nn.Module:
        return self.layers()


class OneSeed(HonestClasses):
    """Seeds torch by a number of its own: the same weights in every run."""

    caught_by, says = "test_model_is_the_same_for_a_seed", "set to a constant"

    def model(self, generator: Generator) -> nn.Module:
        torch.manual_seed(42)
        return self.layers()


class DoubleWeights(HonestClasses):
    """A model in float64."""

    caught_by, says = "test_model_is_the_same_for_a_seed", "torch.float64"

    def layers(self) -> nn.Sequential:
        return super().layers().double()


class EndsInSoftmax(HonestClasses):
    """Gives probabilities to a loss that makes them itself."""

    caught_by, says = "test_model_and_loss_fit_the_data", "before the final activation"

    def layers(self) -> nn.Sequential:
        return nn.Sequential(*super().layers(), nn.Softmax(dim=1))


class EndsInSigmoid(HonestRegression):
    """The same with the logistic loss."""

    caught_by, says = "test_model_and_loss_fit_the_data", "those of a Sigmoid"
    loss = "logistic"

    def targets(self, inputs: Tensor) -> Tensor:
        return (inputs.flatten(1).sum(1, keepdim=True) > 0).float()

    def layers(self) -> nn.Sequential:
        return nn.Sequential(*super().layers(), nn.Sigmoid())


class OtherShapes(HonestRegression):
    """Targets without the outputs' last dimension."""

    caught_by, says = "test_model_and_loss_fit_the_data", "targets"

    def targets(self, inputs: Tensor) -> Tensor:
        return super().targets(inputs)[:, 0]


class Dropout(HonestClasses):
    """Drops units at random."""

    caught_by, says = "test_cases_do_not_see_one_another", "dropout"

    def layers(self) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 8), nn.Dropout(), nn.Linear(8, 2))


class BatchNorm(HonestClasses):
    """Normalises over the cases of the batch."""

    caught_by, says = "test_cases_do_not_see_one_another", "batch norm"

    def layers(self) -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


class SqueezesAll(HonestRegression):
    """Drops all dimensions of size one, with a single case that of the cases too."""

    caught_by, says = "test_cases_do_not_see_one_another", "shape (2,)"

    def layers(self) -> nn.Sequential:
        class Squeeze(nn.Module):
            def forward(self, z: Tensor) -> Tensor:
                return z.squeeze()

        return nn.Sequential(nn.Flatten(), nn.Linear(36, 2), Squeeze())

    def targets(self, inputs: Tensor) -> Tensor:
        return super().targets(inputs).expand(-1, 2).clone()


# ---------------------------------------------------------------- error and target


class MeanError(HonestClasses):
    """One error for the batch."""

    caught_by, says = "test_error_is_per_case", "shape ()"

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().error(outputs, targets).mean()


class ErrorPerPixel(HonestSequences):
    """An error for each number of a case."""

    caught_by, says = "test_error_is_per_case", "shape (16, 7, 3)"

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square()


class ErrorByTheBatch(HonestRegression):
    """Divides by the number of cases, as the mean will do."""

    caught_by, says = "test_error_is_per_case", "a case's error to be its own"

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return super().error(outputs, targets) / len(outputs)


class PicturesAreRows(HonestRegression):
    """Gives its pictures as rows of pixels."""

    caught_by, says = "test_pictures_are_images", "(16, 1)"

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs, targets


class OnePicture(HonestRegression):
    """Gives the outputs alone."""

    caught_by, says = "test_pictures_are_images", "16 images"

    def pictures(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.reshape(-1, 1, 1)


class HonestPictures(HonestRegression):
    """Small images of one pixel."""

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return outputs.reshape(-1, 1, 1), targets.reshape(-1, 1, 1)


class HonestField(HonestRegression):
    """The test cases are points of a grid."""

    rows = 5
    extent = (0.0, 1.0, -1.0, 1.0)

    def field(self, outputs: Tensor, targets: Tensor) -> Field:
        learned, known = (values.view(-1, 10)[: self.rows] for values in (outputs, targets))
        return Field(learned, known, ("t", "x"), self.extent)


class FieldOfSomeCases(HonestField):
    """Leaves out a row of the grid."""

    caught_by, says = "test_field_is_of_all_test_cases", "with 50 points but (4, 10)"
    rows = 4


class FieldUpsideDown(HonestField):
    """Turns what was learned, and not what is known."""

    caught_by, says = "test_field_is_of_all_test_cases", "the same arrangement of outputs and targets"

    def field(self, outputs: Tensor, targets: Tensor) -> Field:
        return replace(super().field(outputs, targets), prediction=outputs.view(5, 10).flip(0))


class FieldWithoutWidth(HonestField):
    """Gives its ends as width and height."""

    caught_by, says = "test_field_is_of_all_test_cases", "two axes whose ends increase"
    extent = (1.0, 2.0, 0.0, 0.0)


class EasyTarget(HonestClasses):
    """A target in per cent where the error is a part of one."""

    caught_by, says = "test_target_is_not_met_at_the_start", "above the target 5"
    target = 5.0
