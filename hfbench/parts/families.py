"""Families of parts: required methods, values and hyper-parameters, checked before any run."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from hfbench.errors import ConfigError, HfbenchError
from hfbench.messages import quoted
from hfbench.parts import hyperparameters, plugin_errors

# What a part of each family must have (hfbench/parts/protocols.py): methods, with what they are called with, and
# values.
PROMISED = {
    "solver": ("iterates(system, x0, preconditioner)",),
    "preconditioner": ("build(linearisation, shift, generator)", "cases"),
    "scheduler": ("begin(total)", "needs"),
    "task": (
        *("load(generator, data)", "model(generator)", "error(outputs, targets)"),
        *("loss", "files", "budget", "target", "decay", "decay_mask"),
    ),
    "rule": ("begin()", "needs"),
    "optimizer": ("begin(model, loss, mu_D)",),
}
FAMILIES = tuple(PROMISED)
LONGEST_NAME = 64  # letters


def check_part(family: str, name: str, cls: Any) -> type[Any]:
    """Returns the class if it is a part of the family. Raises HfbenchError, which names the members it lacks."""
    check_name(name, family)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise HfbenchError(
            f"{family} {quoted(name)} must be a class decorated with @part that has {_listed(PROMISED[family])}, "
            f"but it is {quoted(cls)}."
        )
    _check_promises(family, name, cls)
    return cls


@cache
def _check_promises(family: str, name: str, cls: Any) -> None:
    missing = lacking(family, cls)
    if missing:
        raise HfbenchError(
            f"{family} {quoted(name)} must have {_listed(PROMISED[family])}, but {file_of(cls)} lacks "
            f"{_listed(missing)} in {cls.__qualname__}; hfbench/parts/protocols.py says what each does."
        )
    with hyperparameters.located(f"{family} {quoted(name)} in {file_of(cls)}"):
        _check_hyperparameters(cls)


def _check_hyperparameters(cls: type[Any]) -> None:
    try:
        hyperparameters.check_defaults(cls)
    except HfbenchError:
        raise
    except Exception as error:  # an annotation names what is imported for type checkers only
        raise HfbenchError(f"its hyper-parameters cannot be read: {plugin_errors.reason(error)}.") from error


def lacking(family: str, part: Any) -> list[str]:
    """Members that the family requires and the part, a class or an instance, does not have."""
    return [promise for promise in PROMISED[family] if not _keeps(part, promise)]


def _keeps(part: Any, promise: str) -> bool:
    """True if the part has the required value or method, and the method accepts the call: `begin(total)`."""
    name, call, arguments = promise.rstrip(")").partition("(")
    if not call:
        return hasattr(part, name) or name in getattr(part, "__dataclass_fields__", ())
    method = getattr(part, name, None)
    if not callable(method):
        return False
    unbound = isinstance(part, type) and inspect.isfunction(inspect.getattr_static(part, name))
    given = [*(["self"] if unbound else []), *filter(None, arguments.split(", "))]
    try:
        inspect.signature(method).bind(*given)
    except TypeError:
        return False
    except ValueError:  # it is compiled, and has no signature to tell by
        return True
    return True


def described(spec: Any) -> str:
    """Description of a value given instead of a part; for a part of another family, with that family."""
    built = dataclasses.is_dataclass(spec) and not isinstance(spec, type)
    other = next((family for family in FAMILIES if built and not lacking(family, spec)), None)
    return f"{quoted(spec)}, which is a {other}" if other else quoted(spec)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def file_of(cls: type[Any]) -> str:
    """The file of a class as a plain path, or its module and name if it has no file."""
    try:
        return plugin_errors.plain_path(inspect.getfile(cls))
    except (OSError, TypeError):  # classes typed at a prompt have no file
        return f"{cls.__module__}.{cls.__qualname__}"


def check_name(name: str, where: str) -> None:
    # Names become columns, tags and parts of file names.
    if len(name) > LONGEST_NAME or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ConfigError(
            f"{where}: a name must be 1 to {LONGEST_NAME} letters, digits, - or _, but got {quoted(name)}."
        )


def fitted_name(name: str) -> str:
    """A name that is made of others; if it is too long, its beginning, with a digest that keeps it distinct."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
