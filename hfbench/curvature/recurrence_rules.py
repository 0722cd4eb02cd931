"""Derivatives of recurrent layers, each in one sweep over the steps.

Formula    RNN     h_t = φ(W x_t + U h_{t-1} + b)
           LSTM    i, f, o = σ(s_t) and g = tanh(s_t) of s_t = W x_t + U h_{t-1} + b,
                   c_t = f∘c_{t-1} + i∘g,   h_t = o∘tanh(c_t)
           GRU     r, z = σ(p_t + q_t) and n = tanh(p_t + r∘q_t) of p_t = W x_t + b, q_t = U h_{t-1} + d,
                   h_t = (1 - z)∘n + z∘h_{t-1}
           J v     the same rules for their tangents, driven by V_W x_t + W Rx_t + V_U h_{t-1} + v + U Rh_{t-1}
           Jᵀu     from the last step to the first: the deltas of p_t and q_t, and through Uᵀ the one of h_{t-1}
Shapes     x T × n × inputs, h T × n × width; W gates·width × inputs and U gates·width × width, gates stacked
Source     Pearlmutter (1994), "Fast exact multiplication by the Hessian", section 3 (the operator R)

Only the products with U are made step by step, all others for all steps together. The slopes of the gates, by which
tangents and deltas are multiplied, are computed once, at the first J v. Up to then Jᵀu is PyTorch's, and an LSTM's
stays that of oneDNN, which is faster. PyTorch makes all products step by step. It takes four times as long for the
transpose of an LSTM's kernel, which has no second derivative.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import compress
from typing import Any

import torch
from torch import Tensor
from torch.autograd import grad

from hfbench.curvature.linear_maps import LinearMap, Tangent, is_recorded, with_maps


def recurrence(
    kind: type[_Layer],
    kernel: Callable[..., Any],
    input: Tensor,
    hx: Any,
    params: Any,
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool = False,
) -> Any:
    """`torch.lstm` and so on with these derivatives, layer by layer; None where PyTorch's are to be taken.

    These are for packed sequences, whose lengths stand in the place of `hx`, for projections, and for dropout.
    """
    size, starts = 4 if has_biases else 2, list(hx) if kind is _LSTM and not isinstance(hx, Tensor) else [hx]
    ways = 2 if bidirectional else 1
    is_packed = isinstance(params, Tensor) or isinstance(hx, Tensor) == (kind is _LSTM)
    if is_packed or (dropout and train) or len(params) != num_layers * ways * size:
        return None
    if not is_recorded(input, *starts, *params):
        return None

    def in_one_direction(x: Tensor, hx: Any, weights: Sequence[Tensor]) -> Any:
        return kernel(x, hx, weights, has_biases, 1, 0.0, train, False, False)

    x, last = input.transpose(0, 1) if batch_first else input, []  # steps first
    for layer in range(num_layers):
        outputs = []
        for way in range(layer * ways, (layer + 1) * ways):
            is_backward = way % ways == 1
            first_states = [start[way : way + 1] for start in starts]
            weights = params[way * size : (way + 1) * size]
            h, *last_states = _layer(kind, in_one_direction, x.flip(0) if is_backward else x, first_states, weights)
            outputs.append(h.flip(0) if is_backward else h)
            last.append(last_states)
        x = outputs[0] if ways == 1 else torch.cat(outputs, -1)
    return x.transpose(0, 1) if batch_first else x, *(torch.cat(states) for states in zip(*last, strict=True))


def _layer(
    kind: type[_Layer],
    kernel: Callable[..., Any],
    x: Tensor,
    starts: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> Any:
    """One layer in one direction, steps first: outputs and last states."""
    inputs = [x, *starts, *weights]
    if not is_recorded(*inputs):
        return kernel(x, tuple(starts) if len(starts) > 1 else starts[0], weights)
    call = kind(kernel, inputs, len(starts))
    given = [tensor if tensor.requires_grad else None for tensor in inputs]
    linear_map = LinearMap(tuple(tensor.detach() for tensor in inputs), call.pull, call.push)
    states = with_maps(call.states.clone(), [(linear_map, given)])  # what comes after may write into it
    last = [states[call.steps - 1 : call.steps], states[call.steps :]][: len(starts)]
    return states[: call.steps], *last


class _Layer(ABC):
    """One call of a layer. Its states are h_1 … h_T, and c_T of an LSTM, steps first.

    What is `kept` is x, the first states, W, U and the two biases if there are any. PyTorch's graph stays for Jᵀu, the
    slopes of the gates from the first J v on.
    """

    is_separate = False  # True if the tangents of W x + b and of U h + d are needed one by one

    def __init__(self, kernel: Callable[..., Any], inputs: Sequence[Tensor], starts: int) -> None:
        self.starts = starts
        self.wanted = [tensor.requires_grad for tensor in inputs]
        leaves = [tensor.detach().requires_grad_(tensor.requires_grad) for tensor in inputs]
        x, *others = leaves
        hx = tuple(others[:starts]) if starts > 1 else others[0]
        with torch.enable_grad():
            outputs, *last = kernel(x, hx, others[starts:])
            states = torch.cat((outputs, *last[1:]))
        self.graph: tuple[Tensor, list[Tensor]] | None = states, leaves
        self.states, self.steps = states.detach(), len(states) - len(last[1:])
        self.known: Sequence[Tensor] = ()

    def pull(self, kept: Sequence[Tensor], u: Tensor) -> Sequence[Tangent]:
        """Jᵀu, by PyTorch's graph."""
        assert self.graph is not None
        states, leaves = self.graph
        blocks = iter(grad(states, list(compress(leaves, self.wanted)), u, retain_graph=True))
        return [next(blocks) if is_wanted else None for is_wanted in self.wanted]

    def push(self, kept: Sequence[Tensor], *v: Tangent) -> Tensor:
        """J v."""
        U = kept[self.starts + 2]
        starts = [torch.zeros_like(kept[1][0]) if start is None else start[0] for start in v[1 : self.starts + 1]]
        Rstates = torch.empty_like(self.states)
        self._sweep(self._factors(kept), *self._driven(kept, v), U.T, starts, Rstates)
        return Rstates

    def _factors(self, kept: Sequence[Tensor]) -> Sequence[Tensor]:
        """The slopes of the gates at all steps, by which tangents and deltas are multiplied."""
        if not self.known:
            self.known = self._slopes(kept, [start[0] for start in kept[1 : self.starts + 1]])
        return self.known

    def _gates(self, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """W x + b and U h + d at all steps."""
        x, W, U = kept[0], *kept[self.starts + 1 : self.starts + 3]
        gates = x @ W.T, self._previous(kept) @ U.T
        for gate, shift in zip(gates, kept[self.starts + 3 :], strict=False):
            gate += shift
        return gates

    @abstractmethod
    def _slopes(self, kept: Sequence[Tensor], starts: Sequence[Tensor]) -> Sequence[Tensor]:
        """The factors, computed."""

    @abstractmethod
    def _sweep(
        self,
        factors: Sequence[Tensor],
        of_inputs: Tensor,
        of_states: Tensor,
        U_T: Tensor,
        starts: Sequence[Tensor],
        Rstates: Tensor,
    ) -> None:
        """The tangents of the states, step by step; the driving tangents are overwritten."""

    def _driven(self, kept: Sequence[Tensor], v: Sequence[Tangent]) -> tuple[Tensor, Tensor]:
        """The tangents of `_gates` without U Rh: in two tensors if `is_separate`, else their sum, twice."""
        x, W = kept[0], kept[self.starts + 1]
        Rx, V_W, V_U = v[0], *v[self.starts + 1 : self.starts + 3]
        previous = self._previous(kept)
        of_inputs = x.new_zeros(*previous.shape[:2], len(W))
        of_states = torch.zeros_like(of_inputs) if self.is_separate else of_inputs
        terms = [(of_inputs, x, V_W), (of_states, previous, V_U)]
        if Rx is not None:
            terms.append((of_inputs, Rx, W))
        for driven, a, M in terms:
            if M is not None:
                driven.flatten(0, 1).addmm_(a.flatten(0, 1), M.T)
        for driven, shift in zip((of_inputs, of_states), v[self.starts + 3 :], strict=False):
            if shift is not None:
                driven += shift
        return of_inputs, of_states

    def _previous(self, kept: Sequence[Tensor]) -> Tensor:
        """h_0 … h_{T-1}."""
        return torch.cat((kept[1], self.states[: self.steps - 1]))


class _SweptBack(_Layer):
    """A layer whose Jᵀu is written out as well."""

    def pull(self, kept: Sequence[Tensor], u: Tensor) -> Sequence[Tangent]:
        """Jᵀu, in one sweep once there was a J v, which the factors are computed for."""
        if not self.known:
            return super().pull(kept, u)
        self.graph = None
        x, W, U = kept[0], *kept[self.starts + 1 : self.starts + 3]
        by_inputs, by_states, starts = self._back(self._factors(kept), u, U)
        rows = x.flatten(0, 1), self._previous(kept).flatten(0, 1)
        deltas = by_inputs.flatten(0, 1), by_states.flatten(0, 1)
        makers: list[Callable[[], Tensor]] = [
            lambda: by_inputs @ W,
            *(partial(torch.unsqueeze, start, 0) for start in starts),
            *(partial(torch.mm, delta.T, a) for delta, a in zip(deltas, rows, strict=True)),
            *(partial(torch.sum, delta, 0) for delta in deltas),
        ]
        return [make() if is_wanted else None for make, is_wanted in zip(makers, self.wanted, strict=False)]

    @abstractmethod
    def _back(self, factors: Sequence[Tensor], u: Tensor, U: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        """The deltas of W x + b and of U h + d at all steps, and those of the first states."""


class _RNN(_SweptBack):
    def _slopes(self, kept: Sequence[Tensor], starts: Sequence[Tensor]) -> Sequence[Tensor]:
        return [1 - self.states * self.states]

    def _sweep(
        self,
        factors: Sequence[Tensor],
        of_inputs: Tensor,
        of_states: Tensor,
        U_T: Tensor,
        starts: Sequence[Tensor],
        Rstates: Tensor,
    ) -> None:
        (Rh,), (slope,) = starts, factors
        for Rs, slope_t, Rh_t in zip(of_inputs, slope, Rstates, strict=True):
            Rh = torch.mul(Rs.addmm_(Rh, U_T), slope_t, out=Rh_t)

    def _back(self, factors: Sequence[Tensor], u: Tensor, U: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        (slope,) = factors
        deltas, by_h = torch.empty_like(slope), torch.zeros_like(u[0])
        for u_t, slope_t, delta in _last_first(u, slope, deltas):
            by_h = torch.mul(by_h.add_(u_t), slope_t, out=delta) @ U
        return deltas, deltas, [by_h]


class _RectifiedRNN(_RNN):
    def _slopes(self, kept: Sequence[Tensor], starts: Sequence[Tensor]) -> Sequence[Tensor]:
        return [(self.states > 0).to(self.states.dtype)]


class _LSTM(_Layer):
    def _slopes(self, kept: Sequence[Tensor], starts: Sequence[Tensor]) -> Sequence[Tensor]:
        of_inputs, of_states = self._gates(kept)
        s_i, s_f, s_g, s_o = of_inputs.add_(of_states).chunk(4, -1)
        i, f, g, o = s_i.sigmoid(), s_f.sigmoid(), s_g.tanh(), s_o.sigmoid()
        cells = [starts[1]]
        for i_t, f_t, g_t in zip(i, f, g, strict=True):
            cells.append(torch.addcmul(i_t * g_t, f_t, cells[-1]))
        c = torch.stack(cells)
        tanh_c = c[1:].tanh()
        slopes = torch.cat((i * (1 - i) * g, f * (1 - f) * c[:-1], i * (1 - g * g), o * (1 - o) * tanh_c), -1)
        return slopes, f, o * (1 - tanh_c * tanh_c)

    def _sweep(
        self,
        factors: Sequence[Tensor],
        of_inputs: Tensor,
        of_states: Tensor,
        U_T: Tensor,
        starts: Sequence[Tensor],
        Rstates: Tensor,
    ) -> None:
        Rh, Rc = starts
        for Rs, slopes, forget, outward, Rh_t in zip(of_inputs, *factors, Rstates[:-1], strict=True):
            Ri, Rf, Rg, Ro = Rs.addmm_(Rh, U_T).mul_(slopes).chunk(4, -1)
            Rc = torch.addcmul(Ri, forget, Rc).add_(Rf).add_(Rg)
            Rh = torch.addcmul(Ro, outward, Rc, out=Rh_t)
        Rstates[-1] = Rc


class _GRU(_SweptBack):
    is_separate = True

    def _slopes(self, kept: Sequence[Tensor], starts: Sequence[Tensor]) -> Sequence[Tensor]:
        of_inputs, of_states = self._gates(kept)
        width = self.states.shape[-1]
        r, z = (of_inputs + of_states)[..., : 2 * width].sigmoid().chunk(2, -1)
        q = of_states[..., 2 * width :]
        n = torch.addcmul(of_inputs[..., 2 * width :], r, q).tanh()
        previous = torch.cat((starts[0][None], self.states[:-1]))
        slope_n = (1 - z) * (1 - n * n)
        slopes = torch.stack((slope_n * q * r * (1 - r), (previous - n) * z * (1 - z), slope_n * r), -2)
        return slopes, slope_n, z

    def _sweep(
        self,
        factors: Sequence[Tensor],
        of_inputs: Tensor,
        of_states: Tensor,
        U_T: Tensor,
        starts: Sequence[Tensor],
        Rstates: Tensor,
    ) -> None:
        (Rh,), width = starts, Rstates.shape[-1]
        of_states[..., : 2 * width] += of_inputs[..., : 2 * width]
        for Rp, Rq, slopes, slope_n, keep, Rh_t in zip(of_inputs, of_states, *factors, Rstates, strict=True):
            by_r, by_z, by_n = Rq.addmm_(Rh, U_T).mul_(slopes.view(Rq.shape)).chunk(3, -1)
            total = by_r.add_(by_z).add_(by_n).addcmul_(slope_n, Rp[:, 2 * width :])
            Rh = torch.addcmul(total, keep, Rh, out=Rh_t)

    def _back(self, factors: Sequence[Tensor], u: Tensor, U: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        slopes, slope_n, keep = factors
        by_states, totals, by_h = torch.empty_like(slopes), torch.empty_like(u), torch.zeros_like(u[0])
        for u_t, slope, keep_t, delta, total in _last_first(u, slopes, keep, by_states, totals):
            torch.add(by_h, u_t, out=total)
            torch.mul(slope, total[:, None], out=delta)
            by_h = torch.addmm(total * keep_t, delta.flatten(1), U)
        by_inputs = torch.cat((by_states[..., :2, :].flatten(2), totals * slope_n), -1)
        return by_inputs, by_states.flatten(2), [by_h]


def _last_first(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors' steps in reverse."""
    return zip(*(reversed(tensor.unbind()) for tensor in tensors), strict=True)


KINDS: dict[Any, type[_Layer]] = {
    torch.rnn_tanh: _RNN,
    torch.rnn_relu: _RectifiedRNN,
    torch.lstm: _LSTM,
    torch.gru: _GRU,
}
RULES: dict[Any, Callable[..., Any]] = {kernel: partial(recurrence, kind, kernel) for kernel, kind in KINDS.items()}
