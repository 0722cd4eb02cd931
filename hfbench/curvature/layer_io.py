"""Inputs a_i and output gradients δ_i of every layer in one pass, δ_i the derivative of ⟨u_i, z_i⟩ by its outputs.

For a layer applied at T places per case (rows of a sequence, windows of a picture), case i gives
    ∂⟨u_i, z_i⟩/∂W = Σ_t l_it r_itᵀ,    ∂⟨u_i, z_i⟩/∂bias = Σ_t δ_it
with rows l_it and r_it, one of them made of δ_i and the other of a_i:
    Linear              l = δ    r = a                    T rows; one for a plain dense layer
    Conv1d, Conv2d      l = δ    r = windows of a         T places of the output
    ConvTranspose1d, 2d l = a    r = windows of δ         T places of the input
`Capture` checks that these are the whole gradient of z in a pass, and otherwise names the layer that prevents it, and
leaves that layer out. It
tests that row i of a layer belongs to case i, because sizes do not show it: a model may have its places first, and as
many as cases. z_i depends on case i only, so that for a u that is zero at some cases, δ must be zero in their rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeGuard

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional

from hfbench.curvature.model_checks import trainable
from hfbench.curvature.weights_by_name import Weights
from hfbench.memory import allocations
from hfbench.messages import quoted

Convolution = nn.Conv1d | nn.Conv2d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d
Layer = nn.Linear | Convolution | Transposed
KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


# ---------------------------------------------------------------- one layer


@dataclass(frozen=True)
class LayerIO:
    """A layer's input and deltas in one pass, cases first."""

    layer: Layer
    a: Tensor
    delta: Tensor

    @property
    def is_plain(self) -> bool:
        """True if there is one row per case."""
        return isinstance(self.layer, nn.Linear) and self.a.dim() == 2

    @property
    def places(self) -> int:
        """T, the rows per case of l and r."""
        if isinstance(self.layer, nn.Linear):
            return self.a[0].numel() // self.layer.in_features
        return (self.delta if isinstance(self.layer, Convolution) else self.a)[0, 0].numel()

    def slices(self, entries: int) -> Iterator[LayerIO]:
        """Slices of cases whose gradients and rows do not exceed this number of entries; at least one case each."""
        size = max(1, entries // (self.layer.weight[0].numel() * max(len(self.layer.weight), self.places)))
        for part in allocations.case_slices(len(self.a), size, bounded=True):
            yield LayerIO(self.layer, self.a[part], self.delta[part])

    @property
    def of_inputs(self) -> Tensor:
        """The rows from a: n × T × q, or for a transposed convolution n × T × p."""
        if isinstance(self.layer, nn.Linear):
            return _rows(self.a)
        return windows(self.a, self.layer) if isinstance(self.layer, Convolution) else _places(self.a)

    @property
    def of_deltas(self) -> Tensor:
        """The rows from δ: n × T × p, or for a transposed convolution n × T × q."""
        return windows(self.delta, self.layer) if isinstance(self.layer, Transposed) else self.units

    @property
    def units(self) -> Tensor:
        """δ by unit, n × T × units: the gradient of a bias, once per place of the output."""
        return _rows(self.delta) if isinstance(self.layer, nn.Linear) else _places(self.delta)

    def rows(self) -> tuple[Tensor, Tensor]:
        """l (n × T × p) and r (n × T × q), for a weight of p·q entries, p × q in order."""
        rows = self.of_deltas, self.of_inputs
        return rows[::-1] if isinstance(self.layer, Transposed) else rows


def _row_count(layer: Layer, inputs: Tensor, outputs: Tensor) -> int:
    """Number of rows of all cases together."""
    if isinstance(layer, Transposed):
        return inputs.numel() // layer.in_channels
    return outputs.numel() // (layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def _rows(x: Tensor) -> Tensor:
    """n × … × features as n × T × features."""
    return x.reshape(len(x), -1, x.shape[-1])


def _places(x: Tensor) -> Tensor:
    """n × channels × … as n × T × channels."""
    return x.flatten(2).transpose(1, 2)


def windows(x: Tensor, layer: Convolution | Transposed) -> Tensor:
    """Entries of x under the layer's kernel at each place, n × T × (channels · kernel)."""
    x = functional.pad(x, _pads(layer), mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)
    kernel, stride, dilation = layer.kernel_size, layer.stride, layer.dilation
    if len(kernel) == 1:  # a picture of one row
        x, kernel, stride, dilation = x.unsqueeze(2), (1, *kernel), (1, *stride), (1, *dilation)
    return functional.unfold(x, kernel, dilation, 0, stride).transpose(1, 2)


def _pads(layer: Convolution | Transposed) -> list[int]:
    """Padding before and after, the last dimension first."""
    if not isinstance(layer.padding, str):
        return [side for padding in reversed(layer.padding) for side in (padding, padding)]
    shares = [d * (k - 1) * (layer.padding == "same") for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    return [side for total in reversed(shares) for side in (total // 2, total - total // 2)]


def is_covered(module: nn.Module) -> TypeGuard[Layer]:
    """True if the module is a plain layer whose gradient consists of rows, as above."""
    if type(module) not in KINDS:  # a subclass may do anything
        return False
    if isinstance(module, nn.Linear):
        return True
    assert isinstance(module, Convolution | Transposed)
    beyond = any(extra >= step for extra, step in zip(module.output_padding, module.stride, strict=True))
    return module.groups == 1 and not (isinstance(module, Transposed) and beyond)


def trained_of(layer: Layer) -> list[nn.Parameter]:
    """The layer's trained parameters, weight first."""
    return [p for p in (layer.weight, layer.bias) if isinstance(p, nn.Parameter) and p.requires_grad]


def covered_layers(model: nn.Module) -> tuple[dict[str, Layer], str]:
    """The layers, by name, that have trained parameters of their own; and why these are not all of the model's.

    The reason names the first layer of another kind, or that shares a parameter; it is empty if there is none.
    """
    trained = {id(p): name for name, p in model.named_parameters() if p.requires_grad}
    layers: dict[str, Layer] = {}
    owners: dict[int, str] = {}
    fault = ""
    for name, module in model.named_modules():
        here = [p for p in module.parameters(recurse=False) if p.requires_grad]
        twice = next((p for p in here if id(p) in owners), None)
        if twice is not None:
            owner = owners[id(twice)]
            fault = fault or f"layers {quoted(owner)} and {quoted(name)} share parameter {quoted(trained[id(twice)])}"
            layers.pop(owner, None)
        elif here and is_covered(module) and len(trained_of(module)) == len(here):
            layers[name] = module
        elif here:
            fault = fault or f"{_named(name, module)} is of another kind"
        owners.update((id(p), name) for p in here if id(p) not in owners)
    return layers, fault


def _named(name: str, module: nn.Module) -> str:
    groups = getattr(module, "groups", 1)
    what = type(module).__name__ + (f", groups={groups}" if groups != 1 else "")
    return f"layer {quoted(name)} ({what})" if name else f"the model itself ({what})"


# ---------------------------------------------------------------- one pass


class LayerIOSource(Protocol):
    """Source of the layers' inputs and deltas in one pass."""

    cases: int
    trained: list[nn.Parameter]

    def problem(self, z: Tensor) -> str:
        """Reason why the layers' rows are not the whole gradient of z; empty if they are."""

    def explains(self, z: Tensor) -> bool:
        """True if the layers' rows make up each case's gradient."""

    def passes(self, z: Tensor, u: Tensor) -> Iterator[LayerIO]:
        """Inputs and deltas for ⟨u, z⟩ of every layer whose rows are its gradient, in one order for every u."""


class Capture:
    """Records each layer's input, and the place of its output in the graph, during one forward pass.

    Only the place of the output is kept, not its values, so that no tensor is held that the graph does not hold.
    """

    def __init__(self, model: nn.Module, cases: int, leaves: Weights) -> None:
        """`leaves` are the weights that the pass is made with, by name."""
        trained = trainable(model)
        self.cases, self.trained = cases, list(trained.values())
        self.leaf_of = {id(p): leaves[name] for name, p in trained.items()}
        self.seen: dict[Layer, tuple[Tensor, GradientEdge, torch.Size]] = {}
        layers, self.fault = covered_layers(model)  # the first reason why rows are not all of the gradient
        self.names = {layer: name for name, layer in layers.items()}
        self.left_out: set[Layer] = set()  # of these, layers whose rows are not their gradient
        self.by_case = True  # whether each layer's first dimension is as long as there are cases
        self._apart: bool | None = None  # whether it was found to be theirs
        self._is_searched = False  # for weights that are used outside of their layers
        self._handles: list[Any] = []

    def __enter__(self) -> Capture:
        for layer in self.names:
            if layer._forward_hooks:
                self._say(layer, "has a forward hook, which may change its output")
            self._handles.append(layer.register_forward_hook(self._note))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        for layer in self.names:
            if layer not in self.seen:
                self._say(layer, "is not called in the model's forward pass")

    def _note(self, layer: Layer, args: tuple[Tensor, ...], output: Tensor) -> None:
        if not args:
            self._say(layer, "is called with a keyword, and must be with one argument by position")
        elif layer in self.seen:
            self._say(layer, "is called more than once in a forward pass")
        elif not output.requires_grad:
            self._say(layer, "is called without gradients")
        elif isinstance(layer, nn.Linear) and args[0].dim() < 2:
            self._say(layer, "gets one row, without a dimension for the cases")
        elif not isinstance(layer, nn.Linear) and args[0].dim() != len(layer.kernel_size) + 2:
            self._say(layer, "gets one picture, without a dimension for the cases")
        elif (rows := _row_count(layer, args[0], output)) == 0 or rows % self.cases:
            self._say(layer, f"gets {rows} rows of {self.cases} cases, and must get as many of each")
        else:
            self.seen[layer] = args[0].detach(), get_gradient_edge(output), output.shape
            self.by_case = self.by_case and len(args[0]) == self.cases

    def _say(self, layer: Layer, what: str) -> None:
        self.fault = self.fault or f"{_named(self.names[layer], layer)} {what}"
        self.left_out.add(layer)

    def problem(self, z: Tensor) -> str:
        """Reason why the layers' rows are not the whole gradient of z (a weight may be used elsewhere); else empty."""
        if not self._is_searched:
            self._is_searched, uses = True, _uses(z)
            for layer in self.names:
                if any(uses[id(self.leaf_of[id(p)])] > 1 for p in trained_of(layer)):
                    self._say(layer, "has a parameter that the model uses outside of it as well")
        return self.fault

    def explains(self, z: Tensor) -> bool:
        """True if the layers' rows make up each case's gradient.

        The first call takes a backward pass, a check that belongs to no method and is not counted in the work ledger.
        """
        if self.problem(z) or not self.by_case:
            return False
        if self._apart is None:
            self._apart = self.cases == 1 or self._are_apart(z)
        return self._apart

    def _are_apart(self, z: Tensor) -> bool:
        """True if deltas of half of the cases, drawn at random, are nonzero in their own rows only."""
        generator = torch.Generator().manual_seed(0)
        others = torch.randperm(self.cases, generator=generator, device="cpu")[self.cases // 2 :].to(z.device)
        u = torch.randn(z.shape, generator=generator, dtype=z.dtype, device="cpu").to(z.device)
        u[others] = 0.0
        return not any(bool(seen.delta[others].any()) for seen in self.passes(z, u))

    def passes(self, z: Tensor, u: Tensor) -> Iterator[LayerIO]:
        """Inputs and deltas for ⟨u, z⟩ of every layer that is not left out."""
        self.problem(z)  # leaves out
        seen = {layer: noted for layer, noted in self.seen.items() if layer not in self.left_out}
        edges = [edge for _, edge, _ in seen.values()]
        given = u.to(z.dtype)  # which a cast pass has fewer digits of
        found = grad(z, edges, given, retain_graph=True, allow_unused=True, materialize_grads=False) if edges else ()
        for (layer, (a, _, shape)), delta in zip(seen.items(), found, strict=True):
            yield LayerIO(layer, a, delta if delta is not None else a.new_zeros(shape))


def _uses(z: Tensor) -> Counter[int]:
    """Number of uses of each leaf in z's graph, by id; a tied weight is used twice."""
    uses: Counter[int] = Counter()
    seen, waiting = set(), [z.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for before, _ in node.next_functions:
            if (leaf := getattr(before, "variable", None)) is not None:
                uses[id(leaf)] += 1
            else:
                waiting.append(before)
    return uses
