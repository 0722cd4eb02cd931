"""Any optimiser class of PyTorch as a baseline, without a class of its own in hfbench.

    [methods.adamw.optimizer]
    use = "torch"
    class = "torch.optim.AdamW"
    settings = { lr = 1e-3, weight_decay = 1e-4 }

Problem    minimise f(w) = (1/n) Σ loss(z_i, t_i) + ½ wᵀ(mu D)w, the Hessian-
           free methods' objective. The task's weight decay is part of f and of
           its gradient. A `weight_decay` of the class's own comes on top, is
           what its authors say, and leaves the reported f what it is
Source     that of the class
Cost       one forward and one backward pass (3 units) of every case per
           gradient, six units per product with the Hessian; counted as they
           are made
"""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Any, ClassVar, final

from torch import nn
from torch.optim import Optimizer

from hfbench.errors import ConfigError
from hfbench.parts import part
from hfbench.parts.hyperparameters import Search

from .minibatches import Minibatches
from .optimizer_class import OptimizerClass
from .setting_ranges import ranges_of

Settings = dict[str, Any]


@final
@part
class TorchOptimizer(Minibatches):
    """Any class of torch.optim, of a package or of a plugin file."""

    example: ClassVar[Settings] = {"class": "torch.optim.AdamW", "settings": {"lr": 1e-2}}  # for `hfbench check`
    class_: Annotated[str, "an optimiser class by its dotted path, or file.Class of a plugin file"]
    settings: Annotated[Settings, "keyword arguments of the class"] = field(default_factory=dict)
    create_graph: Annotated[bool, "keep the gradient's graph, for classes that take products with the Hessian"] = False
    rest: Annotated[Settings | None, "class and settings of a second optimiser, for all parameters but matrices"] = None

    def __post_init__(self) -> None:
        self.classes()

    def classes(self) -> list[OptimizerClass]:
        """The class, and that of the rest, with their settings checked."""
        first = OptimizerClass.found(self.class_, self.settings, "class", "settings")
        if self.rest is None:
            return [first]
        if unknown := self.rest.keys() - {"class", "settings"}:
            raise ConfigError(f"rest: must have class and settings alone, but got {', '.join(sorted(unknown))}.")
        given = self.rest.get("class"), self.rest.get("settings", {})
        other = OptimizerClass.found(*given, "rest.class", "rest.settings")
        if other.needs_closure:
            raise ConfigError(
                f"rest.class: must step along a gradient that it is given, but {other.cls.__name__} asks "
                "for the objective. Only the first class may evaluate it."
            )
        return [first, other]

    def named_classes(self) -> list[type]:
        return [named.cls for named in self.classes()]

    def ranges(self) -> dict[str, Search]:
        tables = ("settings", "rest.settings")
        return {
            f"{table}.{name}": search
            for table, named in zip(tables, self.classes(), strict=False)
            for name, search in ranges_of(named.cls, named.settings)
        }

    def build(self, weights: list[nn.Parameter]) -> list[Optimizer]:
        classes = self.classes()
        if len(classes) == 1:
            return [classes[0].build(weights)]
        shares = ([w for w in weights if w.dim() == 2], [w for w in weights if w.dim() != 2])
        return [taken.build(share) for taken, share in zip(classes, shares, strict=True) if share]

    @property
    def takes_products(self) -> bool:
        return self.create_graph
