"""Damped Gauss-Newton system of one outer iteration, as a matrix and as a least-squares problem.

    (G + mu D + lambda I) p = -g                                                          (1)
    ÃᵀÃ is the matrix of (1):  Ã stacks Bᵀ J/√n over (mu D + lambda I)^½
    Ãᵀb̃ = -g, by one of two right-hand sides:
        residual   b̃ = (-B⁺r/√n, -(mu D + lambda I)^(-½) mu D w)    when gradient and curvature share their cases
        damping    b̃ = (0, -(mu D + lambda I)^(-½) g)               always, while the diagonal is positive
In exact arithmetic LSMR's and LSQR's iterates depend on b̃ only through Ãᵀb̃, so both give the same iterates. In
float32 they round differently, and B⁺ divides by a saturated B; "auto" takes the residual form if it is valid and
its entries are moderate, and `right_hand_side_form` gives the form taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from hfbench.curvature.linearisation import Linearisation
from hfbench.errors import ConfigError
from hfbench.inner_solve.span import GaussNewtonSpan
from hfbench.linalg.vector import Shift, Vector
from hfbench.setting_checks import one_of

FORMS = ("auto", "residual", "damping")


def check_form(name: str) -> str:
    """Returns one of FORMS. Raises ConfigError for another name."""
    return one_of(name, FORMS, "right_hand_side")


class GaussNewtonSystem:
    """System (1) at a linearisation on the curvature batch, with the gradient of the same or another batch."""

    def __init__(
        self,
        linearisation: Linearisation,
        gradient: Vector,
        damping: float,
        mu_D: tuple[float, ...],
        *,
        shares_cases: bool,
        right_hand_side: str = "auto",
    ) -> None:
        self.linearisation, self.gradient, self.damping, self.mu_D = linearisation, gradient, damping, mu_D
        spread = linearisation.layout.spread
        self.shift = spread([mu + damping for mu in mu_D])
        self.root_n = math.sqrt(linearisation.n)
        self.wanted_form, self.shares_cases = right_hand_side, shares_cases

    @property
    def replayable(self) -> bool:
        """True if `multiply`, `forward` and `adjoint` may be part of a CUDA graph (`hfbench.inner_solve.iteration`)."""
        return self.linearisation.replayed is not None

    # ------------------------------------------------------------ as a matrix

    def multiply(self, v: Vector) -> Vector:
        """(G + mu D + lambda I) v."""
        return self.linearisation.gauss_newton(v).plus(v, self.shift)

    def multiply_columns(self, V: Sequence[Vector]) -> list[Vector]:
        """(G + mu D + lambda I) v of each vector, all at once."""
        products = self.linearisation.gauss_newton_columns(V)
        return [Gv.plus(v, self.shift) for Gv, v in zip(products, V, strict=True)]

    def span(self, V: Sequence[Vector], split: str = "none") -> GaussNewtonSpan:
        """The system on the span of the parts of V (`hfbench.inner_solve.span`)."""
        return GaussNewtonSpan(self.linearisation, [mu + self.damping for mu in self.mu_D], V, split)

    def kernel(self) -> Tensor:
        """J̃ (mu D + lambda I)⁻¹ J̃ᵀ in float64, J̃ = Bᵀ J/√n: a row for each output of each case.

        Raises ConfigError unless the diagonal is positive, and where the batch is divided among processes.
        """
        if not min(self.mu_D) + self.damping > 0:
            raise ConfigError(
                f"the kernel needs lambda > 0, or decay on every parameter, but lambda is {self.damping:g} and the "
                f"least decay {min(self.mu_D):g}."
            )
        return self.linearisation.row_gram([1 / (mu + self.damping) for mu in self.mu_D])

    # ------------------------------------------------------------ as a least-squares problem

    def forward(self, v: Vector) -> Vector:
        """Ã v: an output block, then blocks shaped like the parameters."""
        Jv = self.linearisation.jvp(v)
        outputs = self._mean(self.linearisation.loss_at.factor_t(Jv), Jv)
        return self.linearisation.share.residual(outputs, v * self.root_shift)

    def adjoint(self, u: Vector) -> Vector:
        """Ãᵀ u."""
        Bu = self._mean(self.linearisation.loss_at.factor(u[0]), u[0])
        return self.linearisation.vjp(Bu).plus(u[1:], self.root_shift)

    @cached_property
    def root_shift(self) -> Shift:
        return self.linearisation.layout.spread([math.sqrt(mu + self.damping) for mu in self.mu_D])

    def _mean(self, made: Tensor, source: Tensor) -> Tensor:
        """made/√n, in place unless `made` is its source tensor."""
        return made.div(self.root_n) if made is source else made.div_(self.root_n)

    @property
    def right_hand_side(self) -> Vector:
        """b̃ with Ãᵀb̃ = -g. It is computed at each call, since only the start of a solve needs it."""
        return self._residual_form() if self.right_hand_side_form == "residual" else self._damping_form()

    def _residual_form(self) -> Vector:
        at, n = self.linearisation, self.linearisation.n
        outputs = at.loss_at.factor_inverse(at.residual).div(-math.sqrt(n))
        scale = at.layout.spread([-mu / math.sqrt(mu + self.damping) if mu else 0.0 for mu in self.mu_D])
        return at.share.residual(outputs, at.parameters * scale)

    def _damping_form(self) -> Vector:
        outputs = torch.zeros_like(self.linearisation.outputs)
        scale = self.linearisation.layout.spread([-1 / math.sqrt(mu + self.damping) for mu in self.mu_D])
        return self.linearisation.share.residual(outputs, self.gradient * scale)

    @cached_property
    def right_hand_side_form(self) -> str:
        """The form taken, "residual" or "damping". Raises ConfigError if the wanted one is not valid."""
        wanted, damped = check_form(self.wanted_form), min(self.mu_D) + self.damping > 0
        if not damped and not self.shares_cases:
            raise ConfigError(
                "a least-squares right-hand side needs lambda > 0 or gradient and curvature on the same cases; "
                "neither holds."
            )
        if wanted == "residual" and not self.shares_cases:
            raise ConfigError(
                "right_hand_side 'residual' needs gradient and curvature on the same cases; use 'damping' or 'auto'."
            )
        if wanted == "damping" and not damped:
            raise ConfigError(
                "right_hand_side 'damping' needs lambda > 0, or decay on every parameter; use 'residual' or 'auto'."
            )
        if wanted == "auto":
            return "residual" if self.shares_cases and (not damped or self._residual_is_moderate()) else "damping"
        return wanted

    def _residual_is_moderate(self) -> bool:
        """True if ‖b̃‖ of the residual form is below the damping form's: large entries that cancel round badly."""
        norm = self._residual_form().norm()
        return math.isfinite(norm) and norm <= self._damping_form().norm()
