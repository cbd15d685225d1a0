"""Proven upper bounds of spectral norms, the only ones a certificate may use.

Everything here runs on the host in float64 with its rounding errors accounted for.
Higham, Accuracy and Stability of Numerical Algorithms (2002), theorem 10.5 and section
3.1: u is the unit roundoff, gamma_n = n u / (1 - n u).
"""

from __future__ import annotations

import numpy as np

_U = 2.0**-53


def norm_bound(matrices: np.ndarray) -> float:
    """Upper bound of the largest singular value over a stack [..., M, N], real or complex.

    With G = A A^H on the smaller side and t a little above its largest computed
    eigenvalue, a Cholesky factorisation of t I - G that succeeds proves that G has no
    eigenvalue above t plus the backward error of the factorisation (at most gamma times
    the trace) and the error made in forming G (at most gamma times |A|_F^2). Typically
    1e-12 above the truth. Returns inf for entries that are not finite.
    """
    a = np.asarray(matrices)
    a = a.astype(np.complex128 if np.iscomplexobj(a) else np.float64)
    if not np.isfinite(a).all():
        return float("inf")
    scale = np.abs(a).max(initial=0.0)
    if scale == 0.0:
        return 0.0
    scale = 2.0 ** np.ceil(np.log2(scale))  # a power of two: dividing by it is exact
    a = a.reshape(-1, *a.shape[-2:]) / scale
    if a.shape[1] > a.shape[2]:
        a = a.conj().swapaxes(1, 2)
    rows, inner = a.shape[1:]
    gram = a @ a.conj().swapaxes(1, 2)
    frobenius = float((np.abs(a) ** 2).sum((1, 2)).max())
    top = max(float(np.linalg.eigvalsh(gram).max()), 0.0)
    excess = 16 * _U * max(rows, inner)
    while True:
        t = top * (1 + excess) + 2.0**-1000
        shifted = t * np.eye(rows) - gram
        try:
            np.linalg.cholesky(shifted)
            break
        except np.linalg.LinAlgError:
            excess *= 4
    gamma = 8 * (rows + inner + 4) * _U  # complex arithmetic: a factor 4 covers it
    proven = t + gamma * (frobenius + rows * t)
    return float(scale * np.sqrt(proven) * (1 + 4 * _U))
