"""Families: what each promises, and that a part which lacks it is refused."""

import re
from typing import Annotated, Any, ClassVar

import pytest

from hfbench import registry
from hfbench.errors import HfbenchError
from hfbench.parts.hyperparameters import Within, part

METHODS = {
    "solver": {"iterates": "system, x0, preconditioner"},
    "preconditioner": {"build": "linearisation, shift, generator"},
    "scheduler": {"begin": "total"},
    "task": {"load": "generator, data", "model": "generator", "error": "outputs, targets"},
    "rule": {"begin": ""},
    "optimizer": {"begin": "model, loss, mu_D"},
}


VALUES = {
    "preconditioner": ("cases",),
    "scheduler": ("needs",),
    "rule": ("needs",),
    "task": ("loss", "files", "budget", "target", "decay", "decay_mask"),
}


MEMBERS = [(family, one) for family in METHODS for one in (*METHODS[family], *VALUES.get(family, ()))]


def _made(family: str, **members: Any) -> type[Any]:
    """A part of the family as it should be, but for the members given: None takes one away."""
    body = {name: _method(arguments) for name, arguments in METHODS[family].items()}
    body |= dict.fromkeys(VALUES.get(family, ()), ())
    body = {name: value for name, value in (body | members).items() if value is not None}
    return part(type("Made", (), {"__doc__": "Made.", "__module__": __name__, **body}))


def _method(arguments: str) -> Any:
    return eval(f"lambda self, {arguments}: None")


def test_every_family_is_known_here() -> None:
    assert tuple(METHODS) == registry.FAMILIES


@pytest.mark.parametrize(("family", "member"), MEMBERS)
def test_a_part_that_lacks_what_its_family_promises_is_refused(family: str, member: str) -> None:
    with registry.temporary(family, "made", _made(family)):
        assert "made" in registry.names(family)
    with pytest.raises(
        HfbenchError, match=rf"{family} 'made' must have .*{member}.*, but .* lacks `{member}\b.*` in Made"
    ):
        registry.add(family, "made", _made(family, **{member: None}))
    assert "made" not in registry.names(family)


@pytest.mark.parametrize(("family", "method"), [(family, one) for family in METHODS for one in METHODS[family]])
def test_a_method_must_take_what_it_is_called_with(family: str, method: str) -> None:
    promised = METHODS[family][method]
    fewer = promised.rpartition(",")[0] if promised else "one"
    for wrong in (_method(fewer), _method(f"{promised}, another".removeprefix(", ")), 3):
        with pytest.raises(HfbenchError, match=rf"lacks `{method}\({promised}\)` in Made"):
            registry.add(family, "made", _made(family, **{method: wrong}))
    for right in (
        _method(f"{promised}, another=3".removeprefix(", ")),
        _method("*all"),
        staticmethod(lambda *all: None),
    ):
        with registry.temporary(family, "made", _made(family, **{method: right})):
            assert "made" in registry.names(family)


@part
class TooLow:
    """Its default is not allowed."""

    needs: ClassVar[tuple[str, ...]] = ()
    patience: Annotated[int, Within("[1, inf)"), "how long"] = 0

    def begin(self) -> None: ...


@part
class Unset:
    """Its default is of another type."""

    needs: ClassVar[tuple[str, ...]] = ()
    patience: Annotated[int, "how long"] = None  # type: ignore[assignment]

    def begin(self) -> None: ...


@part
class Unread:
    """An annotation that only type checkers understand."""

    needs: ClassVar[tuple[str, ...]] = ()
    patience: "Patience" = 3  # type: ignore[name-defined]  # noqa: F821

    def begin(self) -> None: ...


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (TooLow, r"the default of patience: must lie in \[1, inf\), but got 0\."),
        (Unset, r"the default of patience: must be a whole number, but got None\."),
        (Unread, r"its hyper-parameters cannot be read: NameError: name 'Patience' is not defined"),
    ],
)
def test_defaults_are_checked_when_a_part_is_made_known(cls: type, message: str) -> None:
    with pytest.raises(HfbenchError, match=rf"^rule 'odd' in {re.escape(__file__)}: {message}"):
        registry.add("rule", "odd", cls)
    assert "odd" not in registry.names("rule")
