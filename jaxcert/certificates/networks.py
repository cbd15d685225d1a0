"""Turns trained networks into what certificates need: finite and prepared arrays for
votes, and denoisers and the classifiers behind them as functions of a batch of images."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from jaxcert.errors import InputError
from jaxcert.interfaces import Network, PyTree


def has_arrays(network: Network) -> bool:
    """Return False for a network of shapes (jax.ShapeDtypeStruct), which is all there
    is before training: its certifier can be made, which checks all settings, but not
    run."""
    leaves = jax.tree.leaves((network.params, network.state))
    return not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)


def prepared(network: Network, what: str = "the network") -> tuple[PyTree, PyTree]:
    """Return (params, prepared state). Raises InputError for a number that is not finite: the
    rectifiers of compiled programs on a CPU turn NaN into 0, so logits need not tell."""
    if not has_arrays(network):
        return network.params, network.state
    state = jax.jit(network.model.prepare)(network.params, network.state)
    if not _all_finite((network.params, state)):
        raise InputError(
            f"{what} has a parameter that is not finite, or a variance below 0: train or "
            "export it again."
        )
    return network.params, state


@jax.jit
def _all_finite(tree) -> jax.Array:
    """Return whether all numbers are finite, and variances not negative."""
    good = []
    for path, x in jax.tree.leaves_with_path(tree):
        if jnp.issubdtype(x.dtype, jnp.inexact):
            least = 0 if getattr(path[-1], "key", "") == "var" else -jnp.inf
            good.append((jnp.isfinite(x) & (x >= least)).all())
    return jnp.array(good).all()


def in_float32(network: Network) -> Network:
    """Return the network as its float32 form, where it computes in bfloat16."""
    return network._replace(model=network.exact or network.model)


def denoiser_of(network: Network) -> Partial:
    """Return the diffusion.classifiers.Denoise of an EDM, whose arrays are arguments of
    the compiled program. Raises InputError for a classifier, or a parameter that is not
    finite."""
    model = network.model
    if model.unconditional is None:
        raise InputError(
            "this certificate is of a denoiser, and the network is a classifier: give the "
            "workdir of an EDM, or certify.name=smoothing."
        )
    leaves = jax.tree.leaves((network.params, network.state))
    finite = (np.isfinite(np.asarray(leaf)).all() for leaf in leaves)
    if has_arrays(network) and not all(finite):
        raise InputError(
            "the EDM has a parameter that is not finite: train or export it again."
        )
    return Partial(denoise_of(model.apply), network.params, network.state)


@functools.lru_cache(maxsize=8)
def denoise_of(apply):
    """Return the denoising function of an `apply`, one for each, so that programs are shared."""

    def denoise(params, state, x, sigma, label):
        return apply(params, state, x, sigma=sigma, label=label)[0]

    return denoise


def classifier_of(network: Network) -> Partial:
    """Return the function from images [B,H,W,C] in [0, 1] to logits [B,K]. Raises
    InputError for a denoiser."""
    if network.model.unconditional is not None:
        raise InputError("networks.classifier holds a denoiser: name a classifier.")
    arrays = prepared(network, "networks.classifier")
    return Partial(classify_of(network.model.apply), *arrays)


@functools.lru_cache(maxsize=8)
def classify_of(apply):
    """Return the classifying function of an `apply`, one for each, so that programs are shared."""

    def classify(params, state, image):
        return apply(params, state, image)[0]

    return classify
