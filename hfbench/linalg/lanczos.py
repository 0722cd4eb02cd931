"""Eigenvalues of a symmetric operator by the Lanczos process, with the basis kept orthogonal.

Formula    beta_{k+1} v_{k+1} = A v_k - alpha_k v_k - beta_k v_{k-1}; the eigenvalues of the tridiagonal T of alpha
           and beta, Ritz values, approach A's from inside its spectrum, the extreme ones first
Source     Lanczos (1950); orthogonalised twice against all v_j, which is enough by Parlett (1998), section 6.9
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hfbench.linalg.vector import Vector


def ritz_values(apply: Callable[[Vector], Vector], start: Vector, steps: int) -> Tensor:
    """The Ritz values after so many steps from `start`, ascending, in float64; fewer if the space is exhausted.

    Takes memory for `steps` vectors in float64.
    """
    basis = [_row(start)]
    basis[0] /= basis[0].norm()
    alphas, betas = list[float](), list[float]()
    for _ in range(steps):
        w = _row(apply(_like(start, basis[-1])))
        alphas.append(float(basis[-1] @ w))
        for _ in range(2):
            for v in basis:
                w -= (v @ w) * v
        beta = float(w.norm())
        if beta <= 1e-12 * max(map(abs, alphas)):
            break
        betas.append(beta)
        basis.append(w / beta)
    T = torch.diag(torch.tensor(alphas, dtype=torch.float64, device="cpu"))
    off = torch.tensor(betas[: len(alphas) - 1], dtype=torch.float64, device="cpu")
    values: Tensor = torch.linalg.eigvalsh(T + torch.diag(off, 1) + torch.diag(off, -1))
    return values


def _row(v: Vector) -> Tensor:
    return torch.cat([block.reshape(-1).double() for block in v])


def _like(v: Vector, row: Tensor) -> Vector:
    pieces = torch.split(row, [block.numel() for block in v])
    return Vector(piece.reshape(block.shape).to(block.dtype) for piece, block in zip(pieces, v, strict=True))
