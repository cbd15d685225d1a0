"""CERTIFY and PREDICT of randomized smoothing (Cohen, Rosenfeld & Kolter 2019).

g(x) = argmax_c P(f(x + delta) = c), delta ~ N(0, sigma^2 I), for any base classifier f.

CERTIFY: n0 votes f(x + delta) select a class c_A; n FRESH votes count it, n_A times;
    p_lower = lower confidence bound of P(f(x + delta) = c_A) at level 1 - alpha;
    g = c_A within l2 distance sigma Phi^-1(p_lower), or abstain where p_lower <= 1/2.
    For each image this is wrong with probability at most alpha.
PREDICT: n votes; the top class, or abstain where a two-sided binomial test of the two
    top classes has a p-value above alpha.

| paper | here |
|---|---|
| f(x + delta) | vote (keys, noisy image) -> class |
| n_0, n, alpha, sigma | n0, n, alpha, sigma |
| counts0, counts | counts [2,K]: selection, estimation |
| underlined p_A | p_lower |

Sample s of image i draws from fold_in(fold_in(key, i), s): samples 0 .. n0 - 1 select,
n0 .. n0 + n - 1 estimate. So rows do not depend on how samples are packed into forward
passes, on the batch, the order, the number of devices or an interruption.

A vote of -1 (output not finite) counts towards n and for no class, which can only lower
p_lower. Noise and normalisation are float32 also before a bfloat16 network: that is one
more deterministic base classifier. Radii are rounded down; the originals round the
printed ones to nearest.
"""

from __future__ import annotations

import functools
import math
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.tree_util import Partial

from jaxcert.certificates import statistics
from jaxcert.errors import InputError
from jaxcert.interfaces import Array, Certifier, Network, VoteFn
from jaxcert.ops.images import unit
from jaxcert.records import ABSTAIN, ERROR, Certificates

_LEAST_SIGMA = 1e-6
"""Below, noise falls between two neighbouring float32 pixels and is lost."""


def make(
    network: Network,
    *,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    procedure: str = "certify",
    chunk: int = 0,
    mesh: Mesh | None = None,
) -> Certifier:
    """The certifier of a classifier; arguments as in `certifier`."""
    model = network.model
    state = jax.jit(model.prepare)(network.params, network.state)
    return certifier(
        Partial(_vote_of(model.apply), network.params, state),
        num_classes=model.num_classes,
        sigma=sigma,
        n0=n0,
        n=n,
        alpha=alpha,
        procedure=procedure,
        chunk=chunk,
        mesh=mesh,
    )


def certifier(
    vote: VoteFn,
    *,
    num_classes: int,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    procedure: str = "certify",
    chunk: int = 0,
    mesh: Mesh | None = None,
) -> Certifier:
    """CERTIFY or PREDICT (no n0, radius 0) with any base classifier.

    vote: a `jax.tree_util.Partial` keeps its arrays arguments of the compiled program
    instead of constants in it. sigma and the radii are in pixels of [0, 1]. chunk: noisy
    copies per forward pass (speed only; 0: chosen for the device). mesh: one image per
    device of its axis 'data' at a time. Raises InputError for a sigma, alpha, n0, n or
    procedure that cannot certify anything.
    """
    sigma = _drawn(sigma)
    _check(n0, n, alpha, sigma, procedure, chunk)
    if num_classes < 2:
        raise InputError(
            f"num_classes {num_classes} leaves nothing to certify: 2 or more."
        )
    vote = vote if isinstance(vote, Partial) else Partial(vote)
    if mesh is not None:
        vote = jax.device_put(vote, NamedSharding(mesh, P()))
    count = functools.partial(
        _count_votes,
        num_classes=num_classes,
        n0=n0 if procedure == "certify" else 0,
        n=n,
        chunk=chunk or _default_chunk(),
        mesh=mesh,
    )
    stages = dict(n0=n0, n=n) if procedure == "certify" else dict(n=n)

    def certify(key, image, label, index) -> Certificates:
        start = time.perf_counter()
        _check_index(np.asarray(index))
        groups = _groups(np.asarray(image), np.asarray(index), mesh)
        pending = [count(vote, key, *group, np.float32(sigma)) for group in groups]
        counts = np.concatenate(jax.device_get(pending))[: len(index)]
        if procedure == "certify":
            predicted, radius, p_lower = certify_rows(counts, n, alpha, sigma)
        else:
            predicted, radius, p_lower = *predict_rows(counts[:, 1], alpha), None
        elapsed = time.perf_counter() - start
        return Certificates(
            index=np.asarray(index, np.int64),
            label=np.asarray(label, np.int32),
            predicted=predicted,
            radius=radius,
            n=np.full(len(index), n, np.int64),
            seconds=np.full(len(index), elapsed / max(len(index), 1)),
            p_lower=p_lower,
            counts=counts[:, 1].astype(np.int64),
            header=header,
        )

    header = dict(
        method="smoothing",
        norm="l2",
        alpha=alpha,
        sigma=sigma,
        num_classes=num_classes,
        procedure=dict(name=procedure, **stages, noise="gaussian"),
    )
    return Certifier(header, certify)


def certify_rows(
    counts: np.ndarray, n: int, alpha: float, sigma: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Votes [B,2,K] of selection and estimation -> predicted, radius, p_lower [B]."""
    selected = counts[:, 0].argmax(1)
    agreeing = counts[np.arange(len(counts)), 1, selected]
    radius = statistics.smoothing_radius(agreeing, n, alpha, sigma)
    p_lower = statistics.clopper_pearson_lower(agreeing, n, alpha)
    failed = counts[:, 0].sum(1) == 0
    predicted = np.where(radius > 0, selected, ABSTAIN)
    return (
        np.where(failed, ERROR, predicted).astype(np.int32),
        np.where(failed, 0.0, radius),
        np.where(failed, np.nan, p_lower),
    )


def predict_rows(counts: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Votes [B,K] -> predicted [B] and a radius of 0."""
    second, first = np.sort(counts, 1)[:, -2:].T
    sure = statistics.predict_pvalue(first, second) <= alpha
    predicted = np.where(sure, counts.argmax(1), ABSTAIN)
    predicted = np.where(counts.sum(1) == 0, ERROR, predicted)
    return predicted.astype(np.int32), np.zeros(len(counts))


@functools.partial(jax.jit, static_argnames=("num_classes", "n0", "n", "chunk", "mesh"))
def _count_votes(
    vote, key, index, image, sigma, *, num_classes, n0, n, chunk, mesh
) -> Array:
    """One image per device, [D,...] -> int32 [D,2,K]: votes of selection, estimation."""

    def one_image(vote, key, index, image, sigma):
        key, image = jax.random.fold_in(key, index[0]), unit(image[0])

        def add_chunk(c, counts):
            sample = c * chunk + jnp.arange(chunk)
            noise_keys, vote_keys = _sample_keys(key, sample)
            noise = jax.vmap(lambda k: jax.random.normal(k, image.shape, image.dtype))
            votes = vote(vote_keys, image + sigma * noise(noise_keys))
            stage = jnp.stack(
                [sample < n0, (sample >= n0) & (sample < n0 + n)], dtype=jnp.int32
            )
            return counts + stage @ jax.nn.one_hot(votes, num_classes, dtype=jnp.int32)

        counts = jnp.zeros((2, num_classes), jnp.int32)
        return jax.lax.fori_loop(0, -(-(n0 + n) // chunk), add_chunk, counts)[None]

    if mesh is None:
        return one_image(vote, key, index, image, sigma)
    return jax.shard_map(
        one_image,
        mesh=mesh,
        in_specs=(P(), P(), P("data"), P("data"), P()),
        out_specs=P("data"),
        check_vma=False,
    )(vote, key, index, image, sigma)


def _sample_keys(key, sample):
    """Keys of the noise and of the vote of every sample, each [len(sample)]."""
    keys = jax.vmap(lambda s: jax.random.split(jax.random.fold_in(key, s)))(sample)
    return keys[:, 0], keys[:, 1]


@functools.lru_cache(maxsize=8)
def _vote_of(apply):
    """Argmax of a network, -1 where a logit is not finite; one function per network, so
    that a later certifier of the same network finds the compiled program."""

    def vote(params, state, keys, image):
        logits, _ = apply(params, state, image, train=False)
        finite = jnp.isfinite(logits).all(-1)
        return jnp.where(finite, logits.argmax(-1), -1).astype(jnp.int32)

    return vote


def _groups(image: np.ndarray, index: np.ndarray, mesh: Mesh | None):
    """(index, image) of one image per device; the last group repeats its last image.

    Shapes do not depend on the batch, so nothing is compiled again for the last one."""
    size = 1 if mesh is None else mesh.shape["data"]
    for start in range(0, len(index), size):
        rows = np.minimum(np.arange(start, start + size), len(index) - 1)
        yield index[rows].astype(np.uint32), image[rows]


def _check_index(index: np.ndarray) -> None:
    """An index is folded into a key as 32 bits: a larger one would repeat noise."""
    if len(index) and (index.min() < 0 or index.max() >= 2**32):
        raise InputError(
            "an index must be from 0 to 2^32 - 1: it names the image's key."
        )


def _default_chunk() -> int:
    """On a CPU the activations of a forward pass should stay in the cache."""
    return 20 if jax.default_backend() == "cpu" else 1000


def _drawn(sigma: float) -> float:
    """The std that float32 noise has: what is drawn is what is claimed."""
    if not sigma > 0:
        raise InputError(f"sigma {sigma} is not above 0: give the noise's std.")
    with np.errstate(over="ignore"):
        drawn = float(np.float32(sigma))
    if not _LEAST_SIGMA <= drawn < math.inf:
        raise InputError(
            f"sigma {sigma} is no noise that float32 images can carry: give its std in "
            f"pixels of [0, 1], at least {_LEAST_SIGMA:g}."
        )
    return drawn


def _check(n0, n, alpha, sigma, procedure, chunk) -> None:
    if procedure not in ("certify", "predict"):
        raise InputError(f"procedure {procedure!r} is neither 'certify' nor 'predict'.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha {alpha} is no probability of error: try 0.001.")
    if n0 < 1 or n < 1 or chunk < 0:
        raise InputError(
            f"n0 {n0}, n {n} and chunk {chunk} are numbers of samples: give n0 and n at "
            "least 1, chunk 0 (chosen for the device) or more."
        )
    if n0 + n + chunk > np.iinfo(np.int32).max:
        raise InputError(
            f"n0 {n0}, n {n} and chunk {chunk} are too many to count in 32 bits: give "
            "less than 2,147,483,648 together."
        )
    if procedure == "certify" and statistics.max_radius(n, alpha, sigma) == 0:
        enough = statistics.min_n_for_any_radius(alpha)
        raise InputError(
            f"n {n} samples certify no radius at alpha {alpha}, even if all agree: take "
            f"at least {enough} (radius up to "
            f"{statistics.max_radius(enough, alpha, sigma):.3g}; 100000 reach "
            f"{statistics.max_radius(100_000, alpha, sigma):.3g})."
        )
    if procedure == "predict" and statistics.predict_pvalue(n, 0) > alpha:
        raise InputError(
            f"n {n} samples always abstain at alpha {alpha}: take more than "
            f"{statistics.min_n_for_any_radius(alpha)}."
        )
