"""`[methods.<name>]`: the methods of a study, resolved and checked.

A method is either Hessian-free, made of solver, preconditioner, stopping rules and globalisation, or a baseline
(`optimizer`). It takes its batches from a scheduler, or it replays the batches that another method of the study
recorded at the same task and seed (`batches_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from hfbench.config.table_checks import distinct
from hfbench.errors import ConfigError
from hfbench.memory.byte_sizes import bytes_of
from hfbench.messages import did_you_mean, listed, quoted
from hfbench.parts import hyperparameters, registry
from hfbench.parts.hyperparameters import Choice, Within, part, settings_of

RULES = ("relative-progress",)  # Martens (2010)
HESSIAN_FREE = (
    *("solver", "preconditioner", "rules", "globalization", "right_hand_side", "max_inner", "chunk", "layout"),
    *("max_bytes", "precision", "gradient_precision"),
)

Resolved = dict[str, Any]  # {"use": name, **settings}, every default filled in
Spec = str | dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One method of a study; parts are `{"use": name, **settings}` with every default filled in."""

    name: str
    optimizer: Resolved | None  # a baseline; the Hessian-free settings are then None, empty or their defaults
    solver: Resolved | None
    preconditioner: Resolved | None
    scheduler: Resolved | None  # None where `batches_of` is given
    batches_of: str | None  # the method whose recorded batches are replayed
    rules: tuple[Resolved, ...]
    globalization: dict[str, Any]
    right_hand_side: str  # "auto", "residual" or "damping"
    max_inner: int
    chunk: int | None
    max_bytes: int | None  # of a step's tensors
    layout: str  # "structured" or "flat"
    precision: str  # of the curvature products; the weights' own is the study's
    stream: int  # methods with one stream share the draws of batches and probes
    gradient_precision: str = "parameters"  # or "products"; frozen systems of earlier versions do not name it

    def parts(self) -> list[tuple[str, Resolved]]:
        """Every part used, as (family, its settings)."""
        families = ("optimizer", "solver", "preconditioner", "scheduler")
        single = [(family, settings) for family in families if (settings := getattr(self, family)) is not None]
        return [*single, *(("rule", rule) for rule in self.rules)]


@part
class MethodTable:
    """The table as the study file has it."""

    optimizer: Annotated[Spec | None, "a baseline, instead of solver and preconditioner"] = None
    solver: Annotated[Spec | None, "a name, or a table with `use` and settings"] = None
    preconditioner: Annotated[Spec | None, "a name, or a table with `use` and settings"] = None
    scheduler: Annotated[Spec | None, "a name, or a table with `use` and settings"] = None
    batches_of: Annotated[str | None, "a method whose recorded batches are replayed, instead of a scheduler"] = None
    rules: Annotated[list[Any], "stopping rules; the first one that holds ends a solve"] = field(
        default_factory=lambda: [*RULES]
    )
    globalization: Annotated[dict[str, Any], "settings of the globalisation"] = field(default_factory=dict)
    right_hand_side: Annotated[
        str, Choice("auto", "residual", "damping"), "right-hand side of the least-squares form"
    ] = "auto"
    max_inner: Annotated[int, Within("[1, 1e6]"), "maximum number of inner iterations of a step"] = 250
    chunk: Annotated[int | None, Within("[1, inf)"), "maximum number of cases in memory at once"] = None
    max_bytes: Annotated[
        int | str | None, Within("[1, inf)"), 'maximum memory of a step\'s tensors, such as "4GB" or "512MiB"'
    ] = None
    layout: Annotated[str, Choice("structured", "flat"), "layout of vectors: parameter blocks or one flat block"] = (
        "structured"
    )
    precision: Annotated[
        str,
        Choice("parameters", "auto", "float64", "float32", "tf32", "bfloat16"),
        "precision of curvature products; study.precision is that of weights and data",
    ] = "parameters"
    gradient_precision: Annotated[
        str,
        Choice("parameters", "products"),
        "precision of the gradient: that of the weights, or that of products, with one pass for both",
    ] = "parameters"
    stream: Annotated[int, Within("[0, inf)"), "number that selects other random batches and probes"] = 0


def resolve(name: str, table: Mapping[str, Any], where: str = "") -> Method:
    """The method that a table describes. Raises ConfigError with the key path of an error."""
    where = where or f"methods.{name}"
    given = hyperparameters.build_part(MethodTable, table, where)
    _check_batches(given, where)
    baseline = given.optimizer is not None
    _check_kind(table, baseline, where)
    single = ("optimizer", "solver", "preconditioner", "scheduler")
    specs = {family: spec for family in single if (spec := getattr(given, family)) is not None}
    made = {family: part_of(family, spec, f"{where}.{family}") for family, spec in specs.items()}
    if not baseline:
        _check_together(made["solver"][0], made["preconditioner"][0], f"{where}.preconditioner")
    rules = [part_of("rule", rule, f"{where}.rules[{i}]")[1] for i, rule in enumerate(given.rules) if not baseline]
    if rules:
        distinct(rules, f"{where}.rules")
    return Method(
        name=name,
        **{family: made[family][1] if family in made else None for family in single},
        batches_of=given.batches_of,
        rules=tuple(rules),
        globalization={} if baseline else _globalization(given.globalization, where),
        right_hand_side=given.right_hand_side,
        max_inner=given.max_inner,
        chunk=given.chunk,
        max_bytes=bytes_of(given.max_bytes, f"{where}.max_bytes"),
        layout=given.layout,
        precision=given.precision,
        gradient_precision=given.gradient_precision,
        stream=given.stream,
    )


def _check_kind(table: Mapping[str, Any], baseline: bool, where: str) -> None:
    if baseline:
        beside = [key for key in HESSIAN_FREE if key in table]
        if beside:
            raise ConfigError(
                f"{where}: a baseline (optimizer) has no {', '.join(beside)}; leave them out, or drop the optimizer."
            )
        return
    for key in ("solver", "preconditioner"):
        if key not in table:
            known = ", ".join(registry.names(key))
            raise ConfigError(
                f"{where}.{key}: must be given (a name, or a table with `use` and settings; known: {known})."
            )


def _check_together(solver: Any, preconditioner: Any, where: str) -> None:
    from hfbench.inner_solve.solve import check_preconditioner  # brings torch

    with hyperparameters.located(where):
        check_preconditioner(solver, preconditioner)


def _check_batches(given: Any, where: str) -> None:
    if (given.scheduler is None) == (given.batches_of is None):
        stated = "neither is" if given.scheduler is None else "both are"
        raise ConfigError(
            f"{where}.scheduler: must be given (a name, or a table with `use` and settings), or else batches_of, "
            f"a method whose batches are replayed; {stated} there."
        )


def check_followed(methods: Mapping[str, Method]) -> None:
    """Raises ConfigError if `batches_of` does not name a method of the study that has a scheduler."""
    for method in methods.values():
        followed = method.batches_of
        if followed is None:
            continue
        where = f"methods.{method.name}.batches_of"
        leaders = [name for name, other in methods.items() if other.batches_of is None]
        if followed not in leaders:
            raise ConfigError(
                f"{where}: must name a method of the study that has a scheduler, but got "
                f"{quoted(followed)}{did_you_mean(followed, leaders)}; known: {listed(leaders)}."
            )


def part_of(family: str, spec: Any, where: str) -> tuple[Any, Resolved]:
    """The built part, and its `{"use": name, **settings}`. Raises as `registry.build`."""
    built = registry.build(family, spec, where)
    return built, {"use": spec if isinstance(spec, str) else spec["use"], **settings_of(built)}


def _globalization(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    from hfbench.hessian_free.globalization import Globalization  # brings torch

    return settings_of(hyperparameters.build_part(Globalization, given, f"{where}.globalization"))
