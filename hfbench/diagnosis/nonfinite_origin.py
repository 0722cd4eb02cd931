"""Origin of the first number that was not finite: the run is trained again and searched layer by layer."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from hfbench.config.run_spec import RunSpec
from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import NonFiniteError
from hfbench.runs import batches
from hfbench.runs.attempt import single_threaded
from hfbench.runs.build import load_data
from hfbench.runs.run import LiveRun


def find_origin(spec: RunSpec, data: str | None = None) -> str:
    """The first layer and quantity that is not finite after the run has diverged, or that none is any more.

    Looked at in the order in which the data flow: weights, each layer's outputs on the batch that is to come, the
    loss, the gradient of each block from the last layer back.
    """
    with single_threaded():
        live = LiveRun(spec, load_data(spec, data))
        with suppress(NonFiniteError):
            live.begin()
            while live.outcome is None:
                live.advance()
        iteration = len(live.rows) - 1
        found = _first(live)
    if found is None:
        return f"after iteration {iteration} weights, outputs, loss and gradient are all finite here"
    return f"after iteration {iteration} the first that is not finite: {found}"


def _first(live: LiveRun) -> str | None:
    model, task = live.model, live.task
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"weights {name}, {_told(parameter)}"
    cases = live.cases_of(len(live.rows), live.schedule.plan)[0]
    inputs, targets = batches.take(live.data.train, cases)
    met = _first_output(model, inputs)
    if met is not None:
        return met
    at = Linearisation(model, task.loss, inputs, targets)
    try:
        _ = at.value
    except NonFiniteError:
        return f"the loss, at outputs of up to {float(at.outputs.abs().max()):.3g}"
    names = [name for name, _ in model.named_parameters()]
    for name, block in reversed(list(zip(names, at.gradient, strict=True))):
        if not block.isfinite().all():
            return f"the gradient of {name}, {_told(block)}"
    return None


def _first_output(model: nn.Module, inputs: Tensor) -> str | None:
    """The first module, in the order in which they are called, with an output that is not finite."""
    met: list[str] = []
    names = {module: name for name, module in model.named_modules() if not list(module.children())}

    def look(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
        if not met and isinstance(output, Tensor) and not output.isfinite().all():
            into = given[0] if given and isinstance(given[0], Tensor) else None
            size = "" if into is None else f", at inputs of up to {float(into.abs().max()):.3g}"
            met.append(f"outputs of layer {names[module]} ({type(module).__name__}), {_told(output)}{size}")

    hooks = [module.register_forward_hook(look) for module in names]
    try:
        with torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return met[0] if met else None


def _told(block: Tensor) -> str:
    bad = int((~block.isfinite()).sum())
    kind = "NaN" if block.isnan().any() else "infinite"
    return f"{bad} of {block.numel()} entries {kind}"
