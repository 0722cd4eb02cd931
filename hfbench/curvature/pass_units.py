"""Units of a network's passes: the matrix products of each kind of pass, in forward passes of one case.

A chain of dense layers has the units of `hfbench.curvature.work_ledger`. The passes of any other network are run once
on a few cases, and their operations are counted from the shapes of their matrix products and convolutions. Times are
not measured, so that the units are the same on every machine. For example, the squared gradients of a recurrent net
cost a pass of each case alone, including the forward one, and an outer product per place.

A pass needs no deltas of its inputs, which saves the first layer a product in every pass but the forward one. By
convention this product is counted all the same, here as in a chain: the operations for the inputs' deltas are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from hfbench.curvature.autograd_tape import AutogradTape
from hfbench.curvature.chain_links import links_of
from hfbench.curvature.convolution_rules import nominal_kernels
from hfbench.curvature.double_backward import twice_differentiable
from hfbench.curvature.random_draws import draws_undone
from hfbench.curvature.second_moments import squared_norms, squared_sums
from hfbench.curvature.weights_by_name import Weights, own_weights
from hfbench.curvature.work_ledger import UNITS
from hfbench.linalg.vector import Vector
from hfbench.memory.allocations import is_counting

CASES = 2  # tried; one alone may be squeezed away by a model

_known: WeakKeyDictionary[nn.Module, dict[Any, Mapping[str, float]]] = WeakKeyDictionary()


def units_of(model: nn.Module, inputs: Tensor) -> Mapping[str, float]:
    """Units by kind of pass for this model and inputs like these (n × …); the model is left as it was.

    A pass that the model cannot make has the units of the convention; asking for that pass raises an error.
    """
    if is_counting() or links_of(model, inputs) is not None:  # work of a rehearsal counts for nothing
        return UNITS
    known = _known.setdefault(model, {})
    key = _traits(model, inputs)
    if key not in known:
        with _left_alone(model, inputs.device), twice_differentiable(model):
            known[key] = UNITS | _measured(model, inputs.detach()[:CASES])
    return known[key]


def _measured(model: nn.Module, x: Tensor) -> dict[str, float]:
    """The units that can be measured."""
    tapes: list[AutogradTape] = []
    weights = own_weights(model)
    forward = _operations(lambda: tapes.append(AutogradTape(model, x, weights)))
    if not forward:  # of nothing but sums and the like; or no pass, which the step itself reports
        return {}
    tape = tapes[0]
    u, v = torch.ones_like(tape.z), Vector(torch.ones_like(p) for p in tape.parameters.values())
    backward = _operations(lambda: tape.vjp(u))
    first, jvp = (_operations(lambda: tape.jvp(v)) for _ in range(2))
    operations = {
        "backward": backward,
        "vjp": backward,
        "transpose": None if first is None or jvp is None else first - jvp,
        "jvp": jvp,
        "squares": _operations(lambda: squared_sums(model, x, tape.z, tape.capture, u, weights)),
        "norms": _operations(lambda: squared_norms(model, x, tape.z, tape.capture, u, weights)),
        "deltas": _operations(lambda: list(tape.capture.passes(tape.z, u))) or None,  # None if no layer has any
    }
    saved = dict.fromkeys(operations, _deltas_of_inputs(model, x, weights, backward or 0))
    if tape.forward_mode:  # which saves nothing
        saved["jvp"] = 0
    return {kind: (count + saved[kind]) / forward for kind, count in operations.items() if count is not None}


def _deltas_of_inputs(model: nn.Module, x: Tensor, weights: Weights, backward: int) -> int:
    """Operations that derivatives by the inputs would add to a backward pass; none if there are no such derivatives."""
    if not x.is_floating_point():
        return 0
    tape = AutogradTape(model, x.clone().requires_grad_(), weights)
    tape.parameters = {**tape.parameters, "the inputs": tape.inputs}
    return max(0, (_operations(lambda: tape.vjp(torch.ones_like(tape.z))) or 0) - backward)


def _traits(model: nn.Module, inputs: Tensor) -> tuple[Any, ...]:
    """Properties that the passes depend on."""
    parameters = tuple((p.shape, p.dtype, p.requires_grad) for p in model.parameters())
    modes = tuple(module.training for module in model.modules())
    return parameters, modes, inputs.shape[1:], inputs.dtype, inputs.device.type


@contextmanager
def _left_alone(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Restores generators and the model's buffers afterwards."""
    kept = [(module, dict(module._buffers)) for module in model.modules()]
    with draws_undone(device):
        try:
            for module, buffers in kept:
                module._buffers.update({name: b if b is None else b.clone() for name, b in buffers.items()})
            yield
        finally:
            for module, buffers in kept:
                module._buffers.update(buffers)


# ---------------------------------------------------------------- operations


def _operations(act: Callable[[], object]) -> int | None:
    """Floating-point operations of the matrix products and convolutions of a call; None if it fails."""
    with nominal_kernels(), _Operations() as counted:
        try:
            act()
        except torch.OutOfMemoryError:
            raise
        except Exception:
            return None
    return int(counted.total)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counter of operations by shape, like `torch.utils.flop_counter`, which also has the kernels missing there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        kernel = getattr(func, "_overloadpacket", func)
        if (formula := OTHERS.get(kernel)) is not None:
            self.total += formula(args)
        elif (formula := flop_registry.get(kernel)) is not None:
            self.total += formula(*args, **kwargs, out_val=made)
        return made


def _product(M: Tensor, v: Tensor) -> int:
    return int(2 * M.numel() * prod(v.shape[1:]))


def _lstm(inputs: Tensor, W: Tensor, R: Tensor) -> int:
    """Operations of an LSTM layer of oneDNN: W (gates × inputs) and R (gates × units) at every step of every case."""
    return int(2 * inputs[..., 0].numel() * (W.numel() + R.numel()))


aten = torch.ops.aten
OTHERS: dict[Any, Callable[[Any], int]] = {
    aten.mv: lambda args: _product(*args[:2]),
    aten.addmv: lambda args: _product(*args[1:3]),
    aten.addmv_: lambda args: _product(*args[1:3]),
    aten.addmm_: lambda args: _product(*args[1:3]),
    aten.baddbmm_: lambda args: int(2 * args[1].numel() * args[2].shape[-1]),
    aten.mkldnn_rnn_layer: lambda args: _lstm(*args[:3]),
    aten.mkldnn_rnn_layer_backward: lambda args: 2 * _lstm(*args[:3]),
}
