"""A task that reads one file, and what a task must have beside its files."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, ClassVar

from hfbench.parts.data_files import DataFile
from hfbench.parts.hyperparameters import Log, Within, part

CONTENT = b"digits"


class Furniture:
    """What a task must have beside its files."""

    loss = "logistic"
    budget: ClassVar[dict[str, float]] = {"passes": 1.0}
    target, decay, decay_mask = 1.0, 0.0, "none"

    def load(self, generator: Any, data: str | None = None) -> None: ...
    def model(self, generator: Any) -> None: ...
    def error(self, outputs: Any, targets: Any) -> None: ...


@part
class Shelf(Furniture):
    """Reads one file; [bold]brackets[/bold] are no markup.

    The rest of the story.
    """

    files: ClassVar[tuple[DataFile, ...]] = (
        DataFile("shelf/digits.gz", hashlib.sha256(CONTENT).hexdigest()),
        DataFile("shelf/extra.gz", "", optional=True),
    )
    decay: Annotated[float, Log(1e-7, 1e-3), Within("[0, inf)"), "weight decay"] = 1e-5
