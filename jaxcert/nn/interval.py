"""The interval head of the hybrid networks: linear, tanh, linear, with bounds.

Zhang et al. (2021), section 5 (l_inf-dist Net+MLP). Stored weights are N(0, 1), the
effective ones stored / sqrt(inputs), so that one learning rate fits them and the distances.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.ops import linalg


class Linear(nn.Module):
    """The layer y = x W^T / sqrt(D) + b, [B,D] -> [B,O]."""

    features: int
    inputs: int

    def setup(self):
        normal = nn.initializers.normal(1.0)
        self.kernel = self.param("kernel", normal, (self.inputs, self.features))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def __call__(self, x):
        y = linalg.product(x, self.weight(x.dtype))
        return y + self.bias.astype(x.dtype)

    def weight(self, dtype):
        """Return the effective weights, [D,O]."""
        return self.kernel.astype(dtype) / math.sqrt(self.inputs)


class IntervalHead(nn.Module):
    """Map [B,D] to logits [B,K] through `hidden` tanh units."""

    num_classes: int
    hidden: int
    inputs: int

    def setup(self):
        self.linear = Linear(self.hidden, self.inputs)
        self.final = Linear(self.num_classes, self.hidden)

    def __call__(self, x):
        return self.final(jnp.tanh(self.linear(x)))

    def worst(self, lower, upper, label):
        """Return upper bounds [B,K] of z_j - z_label over the box [lower, upper]; 0 at
        the label.

        Centre c and radius r of the hidden units go through the differences of the rows of
        the last layer: (W_j - W_y) c + b_j - b_y + |W_j - W_y| r.
        """
        w = self.linear.weight(lower.dtype)
        middle = self.linear((lower + upper) / 2)
        spread = linalg.product((upper - lower) / 2, jnp.abs(w))
        low, high = jnp.tanh(middle - spread), jnp.tanh(middle + spread)
        centre, radius = (low + high) / 2, (high - low) / 2
        rows = self.final.weight(lower.dtype).T
        bias = self.final.bias.astype(lower.dtype)
        # exactly 0 at the label, because |.| of a rounding error would have a slope
        own = jax.nn.one_hot(label, self.num_classes, dtype=bool)[..., None]
        difference = jnp.where(own, 0.0, rows[None] - rows[label][:, None])  # [B,K,H]

        def of_rows(rows, units):
            return jnp.einsum("bkh,bh->bk", rows, units, precision=linalg.EXACT)

        return (
            of_rows(difference, centre)
            + of_rows(jnp.abs(difference), radius)
            + bias
            - bias[label][:, None]
        )

    def pairwise(self, dtype=jnp.float32):
        """Return the l_inf Lipschitz constants [K,K] of z_i - z_j, with tanh as
        1-Lipschitz: sum_k sum_h |W2_ih - W2_jh| |W1_hk|."""
        reach = jnp.abs(self.linear.weight(dtype)).sum(0)
        rows = self.final.weight(dtype).T
        return linalg.product(jnp.abs(rows[:, None] - rows[None]), reach)

    def pairwise_bound(self) -> np.ndarray:
        """Return the same in float64 on the host, rounded up."""
        first, last = (
            np.asarray(layer.kernel, np.float64) / math.sqrt(layer.inputs)
            for layer in (self.linear, self.final)
        )
        rows = last.T
        exact = np.abs(rows[:, None] - rows[None]) @ np.abs(first).sum(0)
        return exact * (1 + 1e-12)
