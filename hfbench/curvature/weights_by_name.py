"""Weights given to a model by name, and the check that it reaches its parameters in no other way.

A step evaluates the model at other weights than its own, and a linearisation keeps the weights of its point. Both give
copies to the model by name (`outputs_with`), so that its parameters stay as they are. This is right only
if `forward` reads its parameters by name when it runs, and no two parameters share memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

from hfbench.curvature.model_checks import outputs_of, trainable
from hfbench.errors import ConfigError
from hfbench.messages import quoted

CASES = 4  # that a model is tried on
SHIFT = 0.1  # of the weights when they are tried, relative to their root mean square
SMALLEST = 0.01  # shift of weights that are zero
TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}  # relative; the same kernels run on the same numbers

Weights = Mapping[str, Tensor]


def own_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the trained parameters, by name."""
    return {name: p.detach().clone() for name, p in trainable(model).items()}


def outputs_with(model: nn.Module, tensors: Weights, inputs: Tensor) -> Tensor:
    """model(inputs) with these tensors in place of its parameters and buffers of these names, wherever they are tied.

    A module may stand at several places and a parameter in several modules. They are put back afterwards, which
    `torch.func.functional_call` does not do for a module at two places. Raises ConfigError if forward replaces them.
    """
    own = [*model.named_parameters(), *model.named_buffers()]
    given = {id(tensor): tensors[name] for name, tensor in own if name in tensors}
    places: list[tuple[dict[str, Any], str, Tensor]] = [
        (members, name, tensor)
        for module in model.modules()
        for members in (module._parameters, module._buffers)
        for name, tensor in members.items()
        if tensor is not None and id(tensor) in given
    ]
    try:
        for members, name, tensor in places:
            members[name] = given[id(tensor)]
        z: Tensor = model(inputs)
        rebound = [name for members, name, tensor in places if members.get(name) is not given[id(tensor)]]
    finally:
        for members, name, tensor in places:
            members[name] = tensor
    if rebound:
        raise ConfigError(
            f"the forward pass must not change the model, but it put others in the place of {', '.join(rebound)}: each "
            "pass would then be that of another model. Compute them out of place, and keep statistics outside of "
            "forward."
        )
    return z


def few_of(x: Tensor) -> Tensor:
    """A few of the cases, spread over all of them."""
    return x[torch.linspace(0, len(x) - 1, min(CASES, len(x)), device="cpu").long().to(x.device)]


def leaves_of(weights: Weights) -> dict[str, Tensor]:
    """The same tensors as leaves of a new graph."""
    return {name: w.detach().requires_grad_() for name, w in weights.items()}


def changed(weights: Weights, before: Weights) -> list[str]:
    """Names of the weights that are not bit for bit those of before."""
    return [name for name, w in weights.items() if not torch.equal(_bits(w), _bits(before[name]))]


def checksums(weights: Weights) -> Tensor:
    """A number for each of the weights that any change of a bit changes."""
    return torch.stack([_bits(w).sum() for w in weights.values()])


def _bits(w: Tensor) -> Tensor:
    return w.detach().view(torch.int32 if w.element_size() == 4 else torch.int64)


def weights_changed(names: Collection[str]) -> str:
    """The message for a model whose forward pass writes into its weights."""
    return (
        f"the forward pass must not change the weights, but it changed {', '.join(names)}: the objective is then that "
        "of other weights than were given. Compute them out of place (functional.linear(x, weight * mask)), take "
        "max_norm=None, and clamp between steps."
    )


# ---------------------------------------------------------------- memory


def check_memory(trained: Weights) -> None:
    """Raises ConfigError if entries of the trained parameters share memory: a step would be added to them twice."""
    together: dict[int, list[str]] = defaultdict(list)
    for name, p in trained.items():
        if p.numel():
            together[p.untyped_storage().data_ptr()].append(name)
    for names in together.values():
        if len(names) > 1 or not trained[names[0]].is_contiguous():
            _check_apart({name: trained[name] for name in names})


def _check_apart(parameters: Weights) -> None:
    """As `check_memory`, for parameters in one storage."""
    names = list(parameters)
    first = parameters[names[0]]
    places = torch.arange(first.untyped_storage().nbytes() // first.element_size(), device="cpu")
    owner = torch.full_like(places, -1)
    for index, (name, p) in enumerate(parameters.items()):
        here = places.as_strided(p.size(), p.stride(), p.storage_offset()).flatten()
        if int(torch.bincount(here).max()) > 1:
            raise ConfigError(
                f"the entries of parameter {quoted(name)} must each have a place in memory, but some share one: clone "
                "the expanded tensor before it becomes an nn.Parameter."
            )
        if (taken := int(owner[here].max())) >= 0:
            raise ConfigError(
                f"parameters {quoted(names[taken])} and {quoted(name)} must not share memory, but one is a view of "
                "the other or they overlap: a step would be added to the shared entries twice. To tie weights, use "
                "one nn.Parameter in both places, or compute one from the other in forward "
                "(functional.linear(x, weight.t()))."
            )
        owner[here] = index


# ---------------------------------------------------------------- by name or otherwise


def check_reached_by_name(model: nn.Module, x: Tensor) -> list[str]:
    """Raises ConfigError unless weights given by name change the outputs as the same weights in the model do.

    The weights are shifted at random. The pass by name must depend on no parameter of the model's own; its outputs must
    be those of a pass with the parameters moved in place. Two passes on x; a backward pass runs only through what is
    wrong. The parameters are left as they were. Returns the names of the weights that the pass wrote into; if there are
    any, no more is known.
    """
    trained = trainable(model)
    check_memory(trained)
    shifted = _shifted(trained)
    leaves = leaves_of({name: w.clone() for name, w in shifted.items()})
    with torch.enable_grad():
        z = _outputs(model, leaves, x)
        held = _held(z, trained)
    if held:
        raise ConfigError(_reached_otherwise(held))
    if names := changed(leaves, shifted):
        return names
    if not bool(z.isfinite().all()) or _agree(z.detach(), _moved(model, shifted, x)):
        return []
    if _agree(_moved(model, shifted, x), _moved(model, shifted, x)):  # else noise, which is another fault
        names = [name for name, w in shifted.items() if not _alike(model, {name: w}, x)]
        raise ConfigError(_reached_otherwise(names or list(trained)))
    return []


def _reached_otherwise(names: Sequence[str]) -> str:
    many = len(names) > 1
    return (
        f"forward must read its parameters from the model's modules, by name, but {', '.join(map(repr, names))} "
        f"{'are' if many else 'is'} reached otherwise: other weights, which a step tries, would not reach the outputs. "
        "Keep layers and weights in nn.ModuleList and nn.ParameterList instead of plain lists, and compute transposes "
        "and effective weights in forward instead of in __init__."
    )


def _shifted(trained: Weights) -> dict[str, Tensor]:
    """The weights shifted at random, each by a tenth of its root mean square or so."""
    generator = torch.Generator("cpu").manual_seed(0)
    shifted = {}
    for name, p in trained.items():
        size = SHIFT * float(p.detach().square().mean().sqrt()) or SMALLEST
        direction = torch.randn(p.shape, generator=generator, dtype=p.dtype, device="cpu")
        shifted[name] = p.detach() + size * direction.to(p.device)
    return shifted


def _outputs(model: nn.Module, weights: Weights, x: Tensor) -> Tensor:
    """The outputs at these weights, from copies of the buffers."""
    named = {name: buffer.clone() for name, buffer in model.named_buffers()} | dict(weights)
    return outputs_of(lambda inputs: outputs_with(model, named, inputs), x, list(trainable(model).values()))


def _held(z: Tensor, trained: Weights) -> list[str]:
    """The trained parameters that the outputs depend on, though others were given for them."""
    blocks = grad(z.sum(), list(trained.values()), retain_graph=True, allow_unused=True)
    return [name for name, block in zip(trained, blocks, strict=True) if block is not None]


@torch.no_grad()
def _moved(model: nn.Module, weights: Weights, x: Tensor) -> Tensor:
    """The outputs with these weights in the model itself, as an optimiser moves them; they are put back."""
    trained = trainable(model)
    before = {name: trained[name].clone() for name in weights}
    try:
        for name, w in weights.items():
            trained[name].copy_(w)
        return _outputs(model, {}, x).clone()  # they may be a view of the weights
    finally:
        for name, w in before.items():
            trained[name].copy_(w)


@torch.no_grad()
def _alike(model: nn.Module, weights: Weights, x: Tensor) -> bool:
    return _agree(_outputs(model, weights, x), _moved(model, weights, x))


def _agree(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a - b).abs().max() <= TOLERANCE[b.dtype] * b.abs().max()).item())
