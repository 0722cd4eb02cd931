"""CURVES: pen strokes through three random points, as an autoencoder task.

Network    pixels - layers and back: dense, logistic units, but the code is
           linear and so is the output, the pre-activation z
Loss       logistic, of sigmoid(z) against the picture t, convex in z
Error      ‖sigmoid(z) - t‖², summed over pixels, mean over the test cases
Source     Hinton and Salakhutdinov (2006), Science 313: 28×28 pictures of
           curves, 20 000 to train on and 10 000 to test; initialised as in
           Martens (2010), section 5
Original   their file `curves/digs3pts_1.mat` (MATLAB, variables `bdata` and
           `bdatatest`, a picture a row) is used by `curves` if a data folder
           has it; no checksum of it is published, so its contents are checked
Otherwise  our own pictures, the same everywhere and for every seed of a run:
           three points uniform in the picture less a margin of 2 pixels;
           the quadratic through them, at 64 equally spaced t in [0, 1],
           p(t) = (2t-1)(t-1) p₀ + 4t(1-t) p₁ + t(2t-1) p₂;
           a soft pen of radius 2 pixels: ink = (1 - d²/4)₊² at distance d
           from the nearest of the 64 points;
           rounded to one of 256 grey levels, then divided by 255
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hfbench.errors import DataError
from hfbench.messages import printable_line, quoted
from hfbench.parts import DataFile, TaskData, part
from hfbench.parts.data_files import decompressed, find_file
from hfbench.regular_files import MB

from .autoencoder import Layers, network, split_pictures, square_pictures, squared_error
from .common import CaseLimit, Decay, DecayMask, Target, Validation, checked_layers
from .portable_random import Floats, uniform

SEED = 250413302  # of the pictures, not of a run
PEN = 2  # radius of the pen, in pixels
STEPS = 64  # points on a curve

ORIGINAL = DataFile("curves/digs3pts_1.mat", sha256="", optional=True, size=256 * MB)  # 188 million as they are
VARIABLES = ("bdata", "bdatatest")
NUMBERS = ("double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))


def quadratic(points: Floats) -> Floats:
    """The curves p(t) through three points each: (cases × 3 × 2) to (steps × cases × 2)."""
    t = (np.arange(STEPS) / (STEPS - 1))[:, None, None]
    first, middle, last = points[:, 0], points[:, 1], points[:, 2]
    return (2 * t - 1) * (t - 1) * first + 4 * t * (1 - t) * middle + t * (2 * t - 1) * last


def draw_curves(curves: Floats, side: int) -> npt.NDArray[np.uint8]:
    """Curves (steps × cases × 2, in pixels) as pictures of `side` × `side` pixels, a row of grey levels each.

    It uses only sums, products and one rounding, without library functions, so that all machines give the same levels.
    """
    cases, width = curves.shape[1], side + 2 * PEN
    canvas = np.full(cases * width * width, np.inf)  # squared distances, with a border for the pen to overlap
    origin = (np.arange(cases) * width * width)[:, None, None]
    pen = np.arange(2 * PEN)  # no other pixel is nearer than PEN to a point in the middle of these
    for point in curves:
        corner = np.rint(point).clip(0, side).astype(np.int64)[:, :, None] + pen  # on the canvas
        squares = (corner - PEN + 0.5 - point[:, :, None]) ** 2
        distance = squares[:, 1, :, None] + squares[:, 0, None, :]
        pixel = origin + corner[:, 1, :, None] * width + corner[:, 0, None, :]
        canvas[pixel] = np.minimum(canvas[pixel], distance)
    inner = canvas.reshape(cases, width, width)[:, PEN:-PEN, PEN:-PEN].reshape(cases, side * side)
    ink = np.maximum(1 - inner / PEN**2, 0)
    return np.asarray(np.rint(255 * ink * ink), dtype=np.uint8)


@cache
def levels(side: int, count: int) -> npt.NDArray[np.uint8]:
    """Our `count` pictures as grey levels, (count × side²); drawn once per process and read-only."""
    points = PEN + uniform(6 * count, SEED).reshape(count, 3, 2) * (side - 2 * PEN)
    batches = np.array_split(points, max(1, count // 500))  # small enough for the processor's cache
    pictures = np.concatenate([draw_curves(quadratic(batch), side) for batch in batches])
    pictures.setflags(write=False)
    return pictures


def generated(side: int, train: int, test: int) -> tuple[Tensor, Tensor]:
    """Our pictures, float32 in [0, 1]: the first `train` to train on (validation included), the next `test` to test."""
    pictures = torch.from_numpy(levels(side, train + test).astype(np.float32)).div_(255)
    return pictures[:train], pictures[train:]


def original(content: bytes, name: str = ORIGINAL.path) -> tuple[Tensor, Tensor]:
    """The training and test pictures of Hinton and Salakhutdinov's file, float32, (cases × 784) each.

    Raises DataError, which names the file, if it is not a MATLAB file of version 5 or has other variables, or larger
    ones. Nothing is made of a variable before its kind and shape are known.
    """
    from scipy.io import loadmat, whosmat

    try:
        _check_expansion(content)
        headers = {variable: (kind, shape) for variable, shape, kind in whosmat(io.BytesIO(content))}
        for variable in VARIABLES:
            _check_header(variable, *headers.get(variable, ("missing", ())), name)
        variables: dict[str, Any] = loadmat(io.BytesIO(content), variable_names=VARIABLES)
    except DataError:
        raise
    except Exception as error:  # a broken file makes the parser raise nearly anything
        said = printable_line(str(error)).rstrip(".")
        raise DataError(f"{name}: cannot be read as a MATLAB file of version 5: {said}.") from error
    train, test = (_pictures(variables[variable], variable, name) for variable in VARIABLES)
    return train, test


def _check_expansion(content: bytes) -> None:
    """Raises ValueError if compressed variables, elements of type 15, have more bytes than the file may have."""
    order, offset, total = ">" if content[126:128] == b"MI" else "<", 128, 0
    while offset + 8 <= len(content):
        kind, length = struct.unpack_from(f"{order}II", content, offset)
        packed, inflate = content[offset + 8 : offset + 8 + length] if kind == 15 else b"", zlib.decompressobj()
        while packed:
            total += len(inflate.decompress(packed, MB))
            packed = inflate.unconsumed_tail
            if total > ORIGINAL.size:
                raise ValueError(f"its {len(content)} bytes expand to more than the {ORIGINAL.size} that it may have")
        offset += 8 + length
    if offset > len(content):
        raise ValueError("it ends within a variable")


def _check_header(variable: str, kind: str, shape: tuple[int, ...], name: str) -> None:
    if kind == "missing":
        raise DataError(f"{name}: must hold the variables {' and '.join(VARIABLES)}, but {variable} is missing.")
    if kind not in NUMBERS or shape[1:] != (Curves.side**2,):
        raise DataError(
            f"{name}: {variable} must be a matrix of numbers with 784 columns, but is {kind} of shape {quoted(shape)}."
        )


def _pictures(values: Any, variable: str, name: str) -> Tensor:
    if values.dtype.kind not in "buif":
        raise DataError(f"{name}: {variable} must be a matrix of real numbers, but is {values.dtype}.")
    if len(values) == 0 or not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"{name}: {variable} must hold values in [0, 1], but some are others.")
    return torch.from_numpy(values.astype(np.float32))


@final
@part
class Curves:
    """Pen strokes, 28×28: autoencoder 784-400-200-100-50-25-6."""

    loss: ClassVar[str] = "logistic"
    files: ClassVar[tuple[DataFile, ...]] = (ORIGINAL,)
    budget: ClassVar[Mapping[str, float]] = {"passes": 6000.0}  # Martens' method takes 2800 to the target
    side: ClassVar[int] = 28

    layers: Layers = (400, 200, 100, 50, 25, 6)
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 20.0
    validation: Validation = 2000
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Cases × 784 in [0, 1], from the original file if a data folder has it; `generator` draws validation cases."""
        path = find_file(ORIGINAL, data)
        if path is None:
            images, test = generated(self.side, 20_000, 10_000)
        else:
            images, test = original(decompressed(path, ORIGINAL.size), str(path))
        return split_pictures(images, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised autoencoder; outputs are pre-activations."""
        return network(self.side**2, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """‖sigmoid(z) - t‖² per case."""
        return squared_error(outputs, targets)

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """sigmoid(z) and t as pictures."""
        return square_pictures(outputs, targets)


@final
@part
class CurvesSmall:
    """Pen strokes, 16×16, quick: autoencoder 256-60-20-6."""

    loss: ClassVar[str] = "logistic"
    files: ClassVar[tuple[DataFile, ...]] = ()
    budget: ClassVar[Mapping[str, float]] = {"passes": 2000.0}  # Martens' method takes 700 to 1600 to the target
    side: ClassVar[int] = 16

    layers: Layers = (60, 20, 6)
    decay: Decay = 1e-5
    decay_mask: DecayMask = "weights"
    target: Target = 8.5
    validation: Validation = 200
    cases: CaseLimit = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", checked_layers(self.layers))

    def load(self, generator: torch.Generator, data: str | None = None) -> TaskData:
        """Cases × 256 in [0, 1], always our own pictures; `generator` draws validation cases."""
        images, test = generated(self.side, 1200, 400)
        return split_pictures(images, test, self.validation, self.cases, generator)

    def model(self, generator: torch.Generator) -> nn.Module:
        """The sparsely initialised autoencoder; outputs are pre-activations."""
        return network(self.side**2, self.layers, generator)

    def error(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """‖sigmoid(z) - t‖² per case."""
        return squared_error(outputs, targets)

    def pictures(self, outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """sigmoid(z) and t as pictures."""
        return square_pictures(outputs, targets)
