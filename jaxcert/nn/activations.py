"""Rectifiers, and 1-Lipschitz activations on pairs of channels.

The first half of the channels is x, the second half y (they are never interleaved).
MaxMin: Anil, Lucas and Grosse (2019). Householder: Singla, Singla and Feizi (2022),
"Improved deterministic l2 robustness on CIFAR-10 and CIFAR-100".
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import linen as nn

Array = jax.Array


def relu(x: Array, train: bool) -> Array:
    """Return max(x, 0). On an accelerator and outside training its gradient reads the
    output, so that a convolution, its bias and the rectifier are one operation and x
    itself is never stored."""
    if train or jax.default_backend() == "cpu":
        return nn.relu(x)
    return _rectified(x)


@jax.custom_jvp
def _rectified(x):
    return jnp.maximum(x, 0)


@_rectified.defjvp
def _where_above(primals, tangents):
    (x,), (dx,) = primals, tangents
    y = _rectified(x)
    return y, jnp.where(y > 0, dx, 0)


def maxmin(z: Array) -> Array:
    """Return (max(x, y), min(x, y)) as one array, concatenated along the channels."""
    x, y = jnp.split(z, 2, -1)
    return jnp.concatenate([jnp.maximum(x, y), jnp.minimum(x, y)], -1)


def householder1(z: Array, theta: Array) -> Array:
    """Reflect (x, y) at the line of angle theta/2 where it lies above it; theta [C/2].

    At theta = pi/2 this is (min(x, y), max(x, y)).
    """
    x, y = jnp.split(z, 2, -1)
    above = x * jnp.sin(theta / 2) - y * jnp.cos(theta / 2) > 0
    u = jnp.where(above, x * jnp.cos(theta) + y * jnp.sin(theta), x)
    v = jnp.where(above, x * jnp.sin(theta) - y * jnp.cos(theta), y)
    return jnp.concatenate([u, v], -1)


def householder2(z: Array, theta0: Array, theta1: Array, theta2: Array) -> Array:
    """Reflect or rotate (x, y) by the sector of the plane that it lies in, one of four;
    thetas [C/2] in [0, 2pi].

    With phi = angle(x, y) - theta0/2 and theta3 = 2 pi - theta1 the sectors end at
    theta1/2, (theta1 + theta2)/2, (theta1 + theta2 + theta3)/2 and 2 pi.
    """
    two_pi = 2 * math.pi
    theta0, theta1, theta2 = (
        jnp.clip(t, 0.0, two_pi) for t in (theta0, theta1, theta2)
    )
    x, y = jnp.split(z, 2, -1)
    phi = jax.lax.stop_gradient(jnp.mod(jnp.arctan2(y, x) - theta0 / 2, two_pi))
    end1 = theta1 / 2
    end2 = end1 + theta2 / 2
    end3 = end2 + math.pi - theta1 / 2
    sectors = [phi < end1, phi < end2, phi < end3]

    def reflect(angle):
        c, s = jnp.cos(angle), jnp.sin(angle)
        return x * c + y * s, x * s - y * c

    def rotate(angle):
        c, s = jnp.cos(angle), jnp.sin(angle)
        return x * c + y * s, y * c - x * s

    pieces = [(x, y), reflect(theta0 + theta1), rotate(theta2), reflect(theta0)]
    u, v = (
        jnp.select(sectors, [p[i] for p in pieces[:3]], pieces[3][i]) for i in range(2)
    )
    return jnp.concatenate([u, v], -1)


class MaxMin(nn.Module):
    """MaxMin of pairs of channels, without parameters."""

    def __call__(self, z):
        return maxmin(z)


class Householder1(nn.Module):
    """`householder1` with trained angles, which start where it is (min, max)."""

    @nn.compact
    def __call__(self, z):
        half = (z.shape[-1] // 2,)
        theta = self.param("theta", nn.initializers.constant(math.pi / 2), half)
        return householder1(z, theta.astype(z.dtype))


class Householder2(nn.Module):
    """`householder2` with trained angles."""

    @nn.compact
    def __call__(self, z):
        half = (z.shape[-1] // 2,)
        uniform = nn.initializers.uniform(math.pi)
        thetas = [self.param(f"theta{i}", uniform, half) for i in range(3)]
        return householder2(z, *(t.astype(z.dtype) for t in thetas))


ACTIVATIONS = {"maxmin": MaxMin, "hh1": Householder1, "hh2": Householder2}
