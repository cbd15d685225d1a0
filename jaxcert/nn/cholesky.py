"""Cholesky-orthogonal layers of LiResNet++.

Hu, Leino, Wang and Fredrikson, "A Recipe for Improved Certifiable Robustness: Capacity and
Data" (2024, arXiv:2310.02513). The rows of a matrix X are made orthogonal,
ops.linalg.cholesky_orthogonal:

    R R^T = X X^T + e I,   Q = R^-1 X

In the dense stack X_l = I + D^(-1/2) g_l (.) W_l, l = 1..D, g_l one factor per output.
Training counts every layer here as 1-Lipschitz, evaluation takes the norm of Q.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.nn import _layer
from jaxcert.nn.liresnet import conv
from jaxcert.ops import linalg, spectral

Array = jax.Array


class PatchConv(_layer.Single):
    """Map [B,n,n,C] to [B,n/patch,n/patch,features] with one matrix for every patch and
    no bias."""

    features: int
    inputs: int
    patch: int = 4

    def setup(self):
        shape = (self.patch, self.patch, self.inputs, self.features)
        start = nn.initializers.normal(1 / (self.patch * math.sqrt(self.inputs)))
        self.kernel = self.param("kernel", start, shape)

    def __call__(self, x):
        return conv(x, _q(self).T.reshape(self.kernel.shape), stride=self.patch)

    def norm(self, train: bool) -> Array:
        return _norm(self, train)

    def bound(self, tight: bool = True) -> float:
        return spectral.norm_bound(np.asarray(_q(self)))

    proven_by = _layer.by_gram

    def bias_gain(self) -> float:
        """Return 0, because there is no bias."""
        return 0.0

    def matrix(self) -> Array:
        return jnp.reshape(self.kernel, (-1, self.features)).T


class Dense(_layer.Single):
    """A dense layer [B,inputs] -> [B,features], with at most as many features as
    inputs."""

    features: int
    inputs: int

    def setup(self):
        start = nn.initializers.normal(1 / math.sqrt(self.inputs))
        self.kernel = self.param("kernel", start, (self.inputs, self.features))
        self.bias = self.param("bias", nn.initializers.zeros, (self.features,))

    def __call__(self, x):
        return x @ _q(self).T.astype(x.dtype) + self.bias.astype(x.dtype)

    norm = PatchConv.norm
    bound = PatchConv.bound
    proven_by = _layer.by_gram
    bias_gain = _layer.bias_at_output

    def matrix(self) -> Array:
        return jnp.asarray(self.kernel).T


class DenseStack(nn.Module):
    """Map x to activation(Q_l x + b_l) for l = 1..depth: [B,features] -> [B,features]."""

    depth: int
    features: int
    activation: Callable[[Array], Array]

    def setup(self):
        d, n = self.depth, self.features
        self.kernel = self.param("kernel", nn.initializers.normal(1 / n), (d, n, n))
        self.gain = self.param("gain", nn.initializers.ones, (d, n))
        self.bias = self.param("bias", nn.initializers.zeros, (d, n))

    def __call__(self, x):
        def layer(x, each):
            q, bias = each
            return self.activation(x @ q.T + bias), None

        each = _q(self).astype(x.dtype), jnp.asarray(self.bias).astype(x.dtype)
        return jax.lax.scan(layer, x, each)[0]

    norm = PatchConv.norm
    """[D]"""

    def bounds(self, tight: bool = True) -> list[Callable[[], float]]:
        """Return the function that computes the bound of each layer."""
        return [partial(spectral.norm_bound, q) for q in np.asarray(_q(self))]

    proven_by = _layer.by_gram
    bias_gain = _layer.bias_at_output

    def matrix(self) -> Array:
        """Return X of all layers, [D,N,N]."""
        branch = jnp.swapaxes(self.kernel, 1, 2) * self.gain[:, :, None]
        eye = jnp.eye(self.features, dtype=branch.dtype)
        return eye + branch / math.sqrt(self.depth)


def _q(module) -> Array:
    """Return Q of a layer [features, inputs], or of a stack of layers."""
    return _layer.prepared(module, lambda: linalg.cholesky_orthogonal(module.matrix()))


def _norm(module, train: bool) -> Array:
    q = _q(module)
    if train:
        return jnp.ones(q.shape[:-2], q.dtype)
    gram = linalg.product(q, jnp.swapaxes(q, -1, -2))
    return jnp.sqrt(jnp.linalg.eigvalsh(gram).max(-1))
