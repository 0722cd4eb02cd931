"""Derivatives of recurrent layers, each in one sweep over the steps.

Formula    RNN     h_t = φ(W x_t + U h_{t-1} + b)
           LSTM    i, f, o = σ(s_t) and g = tanh(s_t) of s_t = W x_t + U h_{t-1} + b,
                   c_t = f∘c_{t-1} + i∘g,   h_t = o∘tanh(c_t)
           GRU     r, z = σ(p_t + q_t) and n = tanh(p_t + r∘q_t) of p_t = W x_t + b, q_t = U h_{t-1} + d,
                   h_t = (1 - z)∘n + z∘h_{t-1}
           J v     the same rules for their tangents, driven by V_W x_t + W Rx_t + V_U h_{t-1} + v + U Rh_{t-1}
           Jᵀu     from the last step to the first: the deltas of p_t and q_t, and through Uᵀ the one of h_{t-1}

Only the products with U are made step by step, all others for all steps together; what tangents and deltas are
multiplied with is computed once, at the first J v. Up to then Jᵀu is PyTorch's, and an LSTM's stays that of oneDNN,
which is faster. PyTorch makes all products step by step. It takes four times as long for the transpose of an LSTM's
kernel, which has no second derivative.
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
    x: Tensor,
    hx: Any,
    weights: Any,
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
    is_packed = isinstance(weights, Tensor) or isinstance(hx, Tensor) == (kind is _LSTM)
    if is_packed or (dropout and train) or len(weights) != num_layers * ways * size:
        return None
    if not is_recorded(x, *starts, *weights):
        return None

    def one(x: Tensor, hx: Any, weights: Sequence[Tensor]) -> Any:
        return kernel(x, hx, weights, has_biases, 1, 0.0, train, False, False)

    x, last = x.transpose(0, 1) if batch_first else x, []  # steps first
    for layer in range(num_layers):
        found = []
        for way in range(layer * ways, (layer + 1) * ways):
            own = [start[way : way + 1] for start in starts]
            is_backward = way % ways == 1
            outputs, *states = _layer(
                kind, one, x.flip(0) if is_backward else x, own, weights[way * size : (way + 1) * size]
            )
            found.append(outputs.flip(0) if is_backward else outputs)
            last.append(states)
        x = found[0] if ways == 1 else torch.cat(found, -1)
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
    of = LinearMap(tuple(tensor.detach() for tensor in inputs), call.pull, call.push)
    states = with_maps(call.states.clone(), [(of, given)])  # what comes after may write into it
    last = [states[call.steps - 1 : call.steps], states[call.steps :]][: len(starts)]
    return states[: call.steps], *last


class _Layer(ABC):
    """One call of a layer. Its states are h_1 … h_T, and c_T of an LSTM, steps first."""

    apart = False  # whether tangents by x and by h are needed one by one

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
        """What tangents and deltas are multiplied with at all steps."""
        if not self.known:
            self.known = self._slopes(kept, [start[0] for start in kept[1 : self.starts + 1]])
        return self.known

    def _gates(self, kept: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """W x + b and U h + d at all steps."""
        x, W, U = kept[0], *kept[self.starts + 1 : self.starts + 3]
        gates = x @ W.T, self._before(kept) @ U.T
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
        into: Tensor,
    ) -> None:
        """The tangents of the states, step by step; the driving tangents are overwritten."""

    def _driven(self, kept: Sequence[Tensor], v: Sequence[Tangent]) -> tuple[Tensor, Tensor]:
        """Tangents of these but for U Rh, apart or in one tensor."""
        x, W = kept[0], kept[self.starts + 1]
        Rx, V_W, V_U = v[0], *v[self.starts + 1 : self.starts + 3]
        before = self._before(kept)
        of_inputs = x.new_zeros(*before.shape[:2], len(W))
        of_states = torch.zeros_like(of_inputs) if self.apart else of_inputs
        terms = [(of_inputs, x, V_W), (of_states, before, V_U)]
        if Rx is not None:
            terms.append((of_inputs, Rx, W))
        for into, a, M in terms:
            if M is not None:
                into.flatten(0, 1).addmm_(a.flatten(0, 1), M.T)
        for into, shift in zip((of_inputs, of_states), v[self.starts + 3 :], strict=False):
            if shift is not None:
                into += shift
        return of_inputs, of_states

    def _before(self, kept: Sequence[Tensor]) -> Tensor:
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
        rows = x.flatten(0, 1), self._before(kept).flatten(0, 1)
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
        into: Tensor,
    ) -> None:
        (Rh,), (slope,) = starts, factors
        for Rs, bent, made in zip(of_inputs, slope, into, strict=True):
            Rh = torch.mul(Rs.addmm_(Rh, U_T), bent, out=made)

    def _back(self, factors: Sequence[Tensor], u: Tensor, U: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        (slope,) = factors
        deltas, by_h = torch.empty_like(slope), torch.zeros_like(u[0])
        for u_t, bent, delta in _last_first(u, slope, deltas):
            by_h = torch.mul(by_h.add_(u_t), bent, out=delta) @ U
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
        bent = c[1:].tanh()
        slopes = torch.cat((i * (1 - i) * g, f * (1 - f) * c[:-1], i * (1 - g * g), o * (1 - o) * bent), -1)
        return slopes, f, o * (1 - bent * bent)

    def _sweep(
        self,
        factors: Sequence[Tensor],
        of_inputs: Tensor,
        of_states: Tensor,
        U_T: Tensor,
        starts: Sequence[Tensor],
        into: Tensor,
    ) -> None:
        Rh, Rc = starts
        for Rs, slopes, forget, outward, made in zip(of_inputs, *factors, into[:-1], strict=True):
            Ri, Rf, Rg, Ro = Rs.addmm_(Rh, U_T).mul_(slopes).chunk(4, -1)
            Rc = torch.addcmul(Ri, forget, Rc).add_(Rf).add_(Rg)
            Rh = torch.addcmul(Ro, outward, Rc, out=made)
        into[-1] = Rc


class _GRU(_SweptBack):
    apart = True

    def _slopes(self, kept: Sequence[Tensor], starts: Sequence[Tensor]) -> Sequence[Tensor]:
        of_inputs, of_states = self._gates(kept)
        width = self.states.shape[-1]
        r, z = (of_inputs + of_states)[..., : 2 * width].sigmoid().chunk(2, -1)
        q = of_states[..., 2 * width :]
        n = torch.addcmul(of_inputs[..., 2 * width :], r, q).tanh()
        before = torch.cat((starts[0][None], self.states[:-1]))
        bent = (1 - z) * (1 - n * n)
        slopes = torch.stack((bent * q * r * (1 - r), (before - n) * z * (1 - z), bent * r), -2)
        return slopes, bent, z

    def _sweep(
        self,
        factors: Sequence[Tensor],
        of_inputs: Tensor,
        of_states: Tensor,
        U_T: Tensor,
        starts: Sequence[Tensor],
        into: Tensor,
    ) -> None:
        (Rh,), width = starts, into.shape[-1]
        of_states[..., : 2 * width] += of_inputs[..., : 2 * width]
        for Rp, Rq, slopes, bent, keep, made in zip(of_inputs, of_states, *factors, into, strict=True):
            by_r, by_z, by_n = Rq.addmm_(Rh, U_T).mul_(slopes.view(Rq.shape)).chunk(3, -1)
            total = by_r.add_(by_z).add_(by_n).addcmul_(bent, Rp[:, 2 * width :])
            Rh = torch.addcmul(total, keep, Rh, out=made)

    def _back(self, factors: Sequence[Tensor], u: Tensor, U: Tensor) -> tuple[Tensor, Tensor, Sequence[Tensor]]:
        slopes, bent, keep = factors
        by_states, totals, by_h = torch.empty_like(slopes), torch.empty_like(u), torch.zeros_like(u[0])
        for u_t, slope, keep_t, delta, total in _last_first(u, slopes, keep, by_states, totals):
            torch.add(by_h, u_t, out=total)
            torch.mul(slope, total[:, None], out=delta)
            by_h = torch.addmm(total * keep_t, delta.flatten(1), U)
        by_inputs = torch.cat((by_states[..., :2, :].flatten(2), totals * bent), -1)
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
