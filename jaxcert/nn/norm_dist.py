"""Layers of l_inf-dist nets and SortNet: distances to learnt points, and mean shift.

Zhang et al. 2021 (l_inf-dist neurons, arXiv:2102.05363), Zhang et al. 2022a (scaled p schedule,
arXiv:2110.06850), Zhang et al. 2022b (SortNet, arXiv:2210.01787).
Everything is 1-Lipschitz in l_inf at p = infinity.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcert.ops.norm_dist import norm_dist, norm_dist_bounds
from jaxcert.ops.sort_neuron import sort_neuron, sort_neuron_bounds


class NormDist(nn.Module):
    """Distances of inputs [B,D] to `features` learnt points [D,O], which start as draws
    from N(0, 1).

    identity > 0: where D <= O, output o starts close to input o mod D, because one of
    its weights is -identity. rho > 0: a sort neuron, which training estimates from the
    `kept` inputs.
    """

    features: int
    inputs: int
    rho: float = 0.0
    num_terms: int = 10
    identity: float = 0.0
    group: int = 32

    def setup(self):
        def init(key, shape):
            w = jax.random.normal(key, shape)
            if self.identity and self.inputs <= self.features:
                output = jnp.arange(self.features)
                w = w.at[output % self.inputs, output].set(-self.identity)
            return w

        self.kernel = self.param("kernel", init, (self.inputs, self.features))

    def __call__(self, x, *, p=None, kept=None):
        """Return the outputs [B,O]. p and kept are those of `ops.norm_dist`; without
        both this is the neuron that is certified."""
        w = self.kernel.astype(x.dtype)
        if self.rho and p is None and kept is None:
            return sort_neuron(x, w, rho=self.rho, num_terms=self.num_terms)
        return norm_dist(x, w, p, kept=kept, group=self.group)

    def interval(self, lower, upper):
        """Return bounds [B,O] of the distances over the box of inputs [lower, upper]."""
        w = self.kernel.astype(lower.dtype)
        if self.rho:
            return sort_neuron_bounds(
                lower, upper, w, rho=self.rho, num_terms=self.num_terms
            )
        return norm_dist_bounds(lower, upper, w)


class MeanShift(nn.Module):
    """z = y - mu per neuron, without scale or bias.

    In training mu is the mean over the batch (all devices), the gradient flows through
    it, and running <- (1 - momentum) running + momentum mu. Otherwise mu is the running
    mean, a constant, so the layer is 1-Lipschitz.
    """

    features: int

    @nn.compact
    def __call__(self, y, *, train: bool, counted=None, momentum=0.1):
        """Return y - mu. counted: bool [B,O], the outputs that were not dropped, over
        which mu is taken."""
        running = self.variable(
            "mean_shift", "mean", jnp.zeros, (self.features,), jnp.float32
        )
        mean = running.value.astype(y.dtype)
        if not train:
            return y - mean
        shift = batch_mean(y, counted)
        after = (1 - momentum) * mean + momentum * lax.stop_gradient(shift)
        running.value = after.astype(running.value.dtype)
        return y - shift


def batch_mean(y, counted=None):
    """Return the mean over the batch, [B,O] -> [O], of the counted entries alone if
    given; 0 where there are none, as in the original."""
    if counted is None:
        return y.mean(0)
    total = jnp.where(counted, y, 0).sum(0)
    return total / jnp.maximum(counted.sum(0), 1).astype(y.dtype)


def draw_kept(key, batch: int, features: int, rho: float, group: int):
    """Draw for every group of `group` images a random subset of round((1 - rho)
    features) outputs: int32 [ceil(batch / group), k], in ascending order.

    The original draws the size from Binomial(features, 1 - rho); a fixed one keeps shapes
    static, and its standard deviation would be half a percent of 5,120.
    """
    keep = max(round((1 - rho) * features), 1)
    groups = -(-batch // group)
    score = jax.random.uniform(key, (groups, features))
    return jnp.sort(jnp.argsort(score, axis=1)[:, :keep], axis=1).astype(jnp.int32)


def as_mask(kept, batch: int, features: int, group: int):
    """Return kept [S,k] as a mask, bool [B, features]."""
    rows = jnp.arange(len(kept))[:, None]
    mask = jnp.zeros((len(kept), features), bool).at[rows, kept].set(True)
    return jnp.repeat(mask, group, axis=0)[:batch]
