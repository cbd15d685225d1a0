"""Last layers of Lipschitz networks."""

from __future__ import annotations

import math

import jax
import numpy as np
from flax import linen as nn

from jaxcert.ops import linalg


class LLN(nn.Module):
    """Last-layer normalisation: z = W' x + b with rows w'_i = w_i / |w_i|.

    Singla, Singla and Feizi (2022). z_i - z_j is |w'_i - w'_j|-Lipschitz, about sqrt(2)
    for any number of classes, where an orthogonal head needs at least K inputs.
    """

    features: int
    inputs: int

    def setup(self):
        bound = 1 / math.sqrt(self.inputs)

        def uniform(key, shape):
            return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

        self.kernel = self.param("kernel", uniform, (self.inputs, self.features))
        self.bias = self.param("bias", uniform, (self.features,))

    def __call__(self, x):
        return x @ self.rows(x.dtype).T + self.bias.astype(x.dtype)

    def rows(self, dtype):
        """Return W', [K, D]."""
        w = self.kernel.T.astype(dtype)
        return w / linalg.safe_norm(w)[:, None]

    def pairwise(self):
        """Return the Lipschitz constants of z_i - z_j, [K,K], differentiable."""
        return linalg.pairwise_row_distances(self.rows(self.kernel.dtype))

    def pairwise_bound(self) -> np.ndarray:
        """Return the same in float64, rounded up; a zero row has no direction and gives
        inf."""
        w = np.asarray(self.kernel, np.float64).T
        norm = np.linalg.norm(w, axis=1, keepdims=True)
        rows = w / np.where(norm > 0, norm, np.nan)
        distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        rounding = (1 + 1e-12) * distance + 1e-14 * w.shape[1]
        return np.where(np.isfinite(rounding), rounding, np.inf)


class Linear(nn.Module):
    """z = W x + b with rows w_i that are free: z_i - z_j is |w_i - w_j|-Lipschitz.

    The scale of the logits, which no radius depends on, is learnt with the rows.
    """

    features: int
    inputs: int

    def setup(self):
        start = nn.initializers.variance_scaling(1.0, "fan_in", "normal")
        self.kernel = self.param("kernel", start, (self.inputs, self.features))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def __call__(self, x):
        return x @ self.kernel.astype(x.dtype) + self.bias.astype(x.dtype)

    def pairwise(self):
        """Return the Lipschitz constants of z_i - z_j, [K,K], differentiable."""
        return linalg.pairwise_row_distances(self.kernel.T)

    def pairwise_bound(self) -> np.ndarray:
        """Return the same in float64, rounded up."""
        rows = np.asarray(self.kernel, np.float64).T
        distance = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        return (1 + 1e-12) * distance
