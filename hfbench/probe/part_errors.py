"""Exceptions of parts in a probe, with the part and its failing call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from hfbench.errors import HfbenchError
from hfbench.parts import families, plugin_errors, registry

Part = tuple[str, str]  # family and name


@contextmanager
def parts_named(parts: Iterable[Part]) -> Iterator[None]:
    """Names the part and the call for an exception of a plugin's code, by raising HfbenchError.

    The parts are those in use, by family and name; the file in which the exception was raised tells which one it is.
    """
    try:
        yield
    except HfbenchError:
        raise
    except Exception as error:
        call = plugin_errors.failing_call(error)
        if call is None:
            raise
        used = list(dict.fromkeys(parts))
        guilty = [part for part in used if families.file_of(registry.get(*part)) == call.file] or used
        said = " or ".join(f"{family} {name}" for family, name in guilty)
        names = " ".join(dict.fromkeys(name for _, name in guilty))
        advice = f"`hfbench check {names}` tests all that it must do."
        raise HfbenchError(f"{said}: {call.name} raised {plugin_errors.reason(error)}; {advice}") from error
