"""Optimiser classes by their dotted path, and their settings against the signature of their constructor."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from hfbench.errors import ConfigError
from hfbench.messages import did_you_mean, printable_line, quoted
from hfbench.parts.hyperparameters import located
from hfbench.parts.named_objects import named_object
from hfbench.parts.plugin_errors import message

BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class OptimizerClass:
    """An optimiser class and the keyword arguments of its constructor."""

    cls: type[Optimizer]
    settings: Mapping[str, Any]
    where: str  # the key of the settings

    @classmethod
    def found(cls, path: Any, settings: Any, where: str, at: str) -> OptimizerClass:
        """The class at a dotted path, with checked settings.

        Raises ConfigError, which begins with the key `where` or `at`, for a path at which there is no optimiser class,
        for settings that its constructor does not take, and for those that it lacks.
        """
        made = _class_at(path, where)
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{at}: must be a table of keyword arguments, but got {quoted(settings)}.")
        taken = dict(_arguments(made))
        for name in settings:
            if name not in taken:
                known = ", ".join(taken)
                close = did_you_mean(name, taken)
                raise ConfigError(f"{at}.{name}: {made.__name__} has no such argument{close}; known: {known}.")
        if lacking := [name for name, needed in taken.items() if needed and name not in settings]:
            raise ConfigError(f"{at}: {made.__name__} must be given {', '.join(lacking)}.")
        return cls(made, {name: _with_tuples(value) for name, value in settings.items()}, at)

    @property
    def needs_closure(self) -> bool:
        """Whether a step must be given the objective."""
        _, *arguments = inspect.signature(self.cls.step).parameters.values()
        return any(argument.kind in BY_NAME and argument.default is argument.empty for argument in arguments)

    def build(self, weights: list[nn.Parameter]) -> Optimizer:
        """The optimiser of these weights. Raises ConfigError if the constructor refuses settings or weights."""
        try:
            return self._made(weights)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also SystemExit, which would end the command without a word
            said = printable_line(message(error)).rstrip(".") or type(error).__name__
            matrices = [w for w in weights if w.dim() == 2]
            remedy = " It takes matrices alone: give the others a class with `rest`." if self._takes(matrices) else ""
            raise ConfigError(f"{self.where}: {self.cls.__name__} refuses them: {said}.{remedy}") from error

    def _made(self, weights: list[nn.Parameter]) -> Optimizer:
        return self.cls(weights, **copy.deepcopy(dict(self.settings)))  # it may change tables that it is given

    def _takes(self, weights: list[nn.Parameter]) -> bool:
        try:
            self._made(weights)
        except BaseException:  # Ctrl-C is raised again later (`hfbench.interrupts`)
            return False
        return True


def _class_at(path: Any, where: str) -> type[Optimizer]:
    with located(where):
        found = named_object(path, "an optimiser class, such as 'torch.optim.AdamW'", _is_optimizer)
    if not _is_optimizer(found):
        raise ConfigError(f"{where}: must be a class derived from torch.optim.Optimizer, but {path} is not.")
    made: type[Optimizer] = found
    return made


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Optimizer) and value is not Optimizer


def _arguments(cls: type[Optimizer]) -> Iterator[tuple[str, bool]]:
    """The keyword arguments of the constructor but the parameters, and whether they must be given.

    `**options` are arguments of the classes that it derives from; anything else would swallow a slip.
    """
    owners = [owner for owner in cls.__mro__ if "__init__" in vars(owner) and not issubclass(Optimizer, owner)]
    for owner in owners:
        _, _, *arguments = inspect.signature(owner.__init__).parameters.values()  # type: ignore[misc]
        named = [argument for argument in arguments if argument.kind in BY_NAME]
        yield from ((argument.name, owner is owners[0] and argument.default is argument.empty) for argument in named)
        if all(argument.kind is not argument.VAR_KEYWORD for argument in arguments):
            return


def _with_tuples(value: Any) -> Any:
    """Lists as tuples, which optimisers ask for."""
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def of_extra(name: str) -> Any:
    """A class of the package pytorch-optimizer. Raises ConfigError if it is not installed."""
    try:
        import pytorch_optimizer
    except ImportError as error:
        raise ConfigError(
            f"the class {name} must be there, but the package pytorch-optimizer is not installed: "
            "pip install 'hfbench[baselines]'."
        ) from error
    return getattr(pytorch_optimizer, name)
