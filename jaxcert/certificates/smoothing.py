"""Randomized smoothing (Cohen, Rosenfeld & Kolter 2019, arXiv:1902.02918): certificates of any
classifier.

g(x) = argmax_c P(f(x + delta) = c) for any base classifier f; delta ~ N(0, sigma^2 I) or
other noise. From votes f(x + delta_1), f(x + delta_2), ... a procedure (`procedures.py`)
names g(x) and a radius (`norms.py`) inside which it does not change, or abstains. For each
image this is wrong with probability at most alpha under exact noise, which `grid` is. Other
noise is float32: at n = 10^5 the rate of false radii is at most 1.007 alpha (1.005 where
all votes agree) for a half-space, by enumeration of what is drawn, and radii are limited by
the ends of the noise (`noise.py`).

| paper | here |
|---|---|
| f(x + delta) | vote (keys, noisy image) -> class |
| n_0, n, alpha, sigma | n0, n, alpha, sigma |
| underlined p_A | p_lower |

A vote of -1 (output not finite) counts towards n and for no class, which can only lower
p_lower. An image with a pixel that is not finite is an error, and so is a network with
such a parameter; a callable of your own has to look for NaN itself, because compiled
rectifiers on a CPU turn it into 0.

Noise and normalisation are float32 also before a bfloat16 network: that is simply
another deterministic base classifier. How many of the n0 votes float32 would change is
recorded. Radii are rounded down; the originals round the printed ones to nearest.
"""

from __future__ import annotations

import functools
import inspect
import math
import time
import warnings
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, Unpack, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.tree_util import Partial

from jaxcert import random_keys
from jaxcert.certificate import ABSTAIN, ERROR, Certificates
from jaxcert.certificates import (
    _arithmetic,
    bounding,
    deadlines,
    hosting,
    inputs,
    networks,
    norms,
    procedures,
    reach,
    runner_up,
    voting,
)
from jaxcert.certificates import noise as noises
from jaxcert.errors import InputError, above, one_of, whole_from, within
from jaxcert.interfaces import Certifier, HostVote, Network, Plan, VoteFn
from jaxcert.ops import images

_Make = TypeVar("_Make", bound=Callable)
_LEAST_SIGMA = 1e-6
"""The least sigma: below it noise falls between two neighbouring float32 pixels and is
lost."""
_SMALL = 64 * 64 * 3
"""Images of at most this many numbers are small, so that a forward pass on an
accelerator takes 4000."""
_TIMED = 0.3
"""For how many seconds of votes a plan measures the speed."""


class Options(TypedDict, total=False):
    """The options of every certificate by votes, whatever votes; `certifier` describes
    them and has the defaults."""

    n0: int
    alpha: float
    procedure: str
    radii: tuple[float, ...]
    rho: float
    bound: str
    rival: str
    noise: str
    norm: str
    mesh: Mesh | None


@random_keys.pinned()
def certifier(
    vote: VoteFn | HostVote,
    *,
    num_classes: int,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    procedure: str = "certify",
    radii: tuple[float, ...] = (),
    rho: float = 0.05,
    bound: str = "union",
    rival: str = "single",
    noise: str = "gaussian",
    norm: str = "l2",
    chunk: int = 0,
    mesh: Mesh | None = None,
    image_shape: tuple[int, ...] | None = None,
    exact: VoteFn | None = None,
) -> Certifier:
    """Return the certifier of any base classifier by a procedure of `procedures.py`.

    vote: (keys, image) -> classes, or logits [B,K], whose argmax is the class if all are
        finite. A `jax.tree_util.Partial` keeps its arrays arguments of the compiled program
        instead of constants in it. A HostVote runs outside of JAX, see `hosting.py`.
    sigma: std of the noise per pixel; it and all radii are in the units of the images,
        which are expected in [0, 1]; others get one warning.
    n0, n, alpha: the votes that select the class, the most votes that count, and the
        probability of an error.
    radii: those that procedure 'radii' tries. rho: share of the radius that 'two_stage'
        and 'sequence' may give up. bound: that of 'sequence', 'union' or 'mixture'.
    rival: how the best of the other classes is bounded, 'single', 'runner_up' or 'auto'; see
        `runner_up.py`.
    noise, norm: a pair of `norms.RADII`.
    chunk: noisy copies per forward pass (speed only; 0: chosen for the device).
    mesh: the devices of its axis 'data' share the samples of every image.
    image_shape: norm 'linf' needs it. exact: the vote in float32, to count changed
        votes.

    `certify` and `plan` take keys of random_keys.py. Raises InputError for options that
    cannot certify anything, and where compiled programs are inexact.
    """
    _arithmetic.check()
    whole_from(2, num_classes=num_classes)
    norms.check(noise, norm)
    sigma = _float32_sigma(sigma)
    if not math.isfinite(norms.scale(noise, sigma)):
        raise InputError(
            f"sigma {sigma:g} is no noise that float32 images can carry: give its std in "
            "pixels of [0, 1]."
        )
    _check(n0, n, alpha, procedure, chunk)
    reach.check_rho(rho)
    reach.check_bound(bound)
    if norm == "linf" and image_shape is None:
        raise InputError("norm linf needs image_shape: give that of the images.")
    d = math.prod(image_shape or (1,))
    law: dict[str, Any] = dict(noise=noise, norm=norm, sigma=sigma, d=d)
    least_tail = noises.least_tail(noise)
    if procedure != "predict" and norms.relies_on_tail(least_tail, n, alpha):
        law["least_tail"] = least_tail
    radius_of = functools.partial(norms.radius, **law)
    bounded = runner_up.Rival(rival, noise == "grid")
    run, details, largest = reach.planned(
        procedure,
        bounded,
        num_classes=num_classes,
        n0=n0,
        n=n,
        alpha=alpha,
        radii=radii,
        rho=rho,
        bound=bound,
        radius_of=radius_of,
        law=law,
    )
    drawn = noises.law(noise, sigma)
    counter = functools.partial(
        voting.counter, chunk=chunk or _default_chunk(), mesh=mesh
    )
    if isinstance(vote, HostVote):
        hosting.check(vote, procedure=procedure, rival=rival, mesh=mesh)
        count = hosting.counter(vote, drawn, num_classes=num_classes, chunk=chunk)
        piece = functools.partial(hosting.chunk_of, chunk=chunk)
    else:
        piece = lambda image: chunk or _default_chunk()  # noqa: E731
        count = counter(_partial(vote), drawn, num_classes=num_classes)
        if exact is not None:
            both = Partial(_differ_of(num_classes), _partial(vote), _partial(exact))
            count_changed = counter(both, drawn, num_classes=2)

    warned = set()

    @random_keys.pinned()
    def certify(key, image, label, index, *, left=None) -> Certificates:
        start = time.perf_counter()
        if isinstance(vote, HostVote):
            vote.check()
        key, image, index = (
            random_keys.checked(key),
            np.asarray(image),
            inputs.check_index(index),
        )
        _check_image(image, image_shape, noise, warned)
        inputs.check_lengths(image, label, index)
        inputs.check_label(label)
        finite = np.isfinite(image).reshape(len(index), -1).all(1)
        image = np.where(finite.reshape(-1, *[1] * (image.ndim - 1)), image, 0)
        if exact is not None:
            rows = np.arange(len(index))
            changed = count_changed.begin(key, index, image, rows, 0, n0)
        draw = functools.partial(count, key, index, image)
        if left is not None:
            draw = deadlines.in_pieces(draw, left, piece(image))
        try:
            decided = run(draw, len(index))
        except deadlines.TimeUp:
            decided = procedures.unanswered(len(index), num_classes)
        failed = decided.failed | ~finite
        says = decided.answered & ~failed
        predicted = np.where(says, decided.selected, ABSTAIN)
        p_lower = decided.p_lower
        if "least_tail" in law and p_lower is not None and procedure != "radii":
            # for procedure 'radii' it is a p_needed
            p_lower = norms.exact_p_lower(p_lower, least_tail)
        elapsed = time.perf_counter() - start
        return Certificates(
            index=index,
            label=np.asarray(label, np.int32),
            predicted=np.where(failed, ERROR, predicted).astype(np.int32),
            radius=np.where(says, decided.radius, 0.0),
            n=decided.n,
            seconds=np.full(len(index), elapsed / max(len(index), 1)),
            p_lower=None if p_lower is None else np.where(failed, np.nan, p_lower),
            counts=decided.counts,
            agreeing=decided.agreeing,
            selection=decided.selection,
            rivals=None if rival == "single" else decided.rivals,
            changed=None if exact is None else changed()[:, 1],
            header=header,
        )

    @random_keys.pinned()
    def plan(key, image) -> Plan:
        key, image, one = (
            random_keys.checked(key),
            np.asarray(image)[:1],
            np.zeros(1, int),
        )
        _check_image(image, image_shape, noise, warned)
        size, elapsed = chunk or _default_chunk(), 0.0
        count(key, one, image, one, 0, size)  # compiles
        while elapsed < _TIMED:
            start = time.perf_counter()
            count(key, one, image, one, 0, size)
            elapsed, done = time.perf_counter() - start, size
            size *= 2
        extra = (procedure != "predict") * n0 + (
            procedure == "two_stage"
        ) * procedures.PILOT
        return Plan(largest, extra + n, count.memory(image), done / elapsed)

    header: dict[str, Any] = dict(
        method="smoothing",
        norm=norm,
        alpha=alpha,
        sigma=sigma,
        num_classes=num_classes,
        procedure=dict(
            name=procedure,
            **details,
            noise=noise,
            scale=norms.scale(noise, sigma),
            least_tail=law.get("least_tail", 0.0),
        ),
        generator=random_keys.GENERATOR | random_keys.OF_SAMPLES,
    )
    if norm == "linf":
        header["procedure"]["d"] = d
    if isinstance(vote, HostVote):
        header["base"] = vote.base
    return Certifier(header, certify, plan, image_shape, stops=True)


def takes_options(make: _Make) -> _Make:
    """Return `make(..., **options: Unpack[Options])` with a signature that has each option by
    name, with its default, as configs and the command line read it."""
    kinds, defaults = get_type_hints(certifier), inspect.signature(certifier).parameters
    own = inspect.signature(make).parameters
    found = [p for p in own.values() if p.kind is not p.VAR_KEYWORD]
    left = [key for key in Options.__annotations__ if key not in own]
    signature = inspect.Signature([*found, *(defaults[key] for key in left)])
    make.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    make.__annotations__ |= {key: kinds[key] for key in left}
    return make


@takes_options
@random_keys.pinned()
def make(
    network: Network,
    *,
    sigma: float,
    n: int = 100_000,
    chunk: int = 0,
    **options: Unpack[Options],
) -> Certifier:
    """Return the certifier of a classifier of images in [0, 1]; the arguments are those
    of `certifier`. Raises InputError for a denoiser too."""
    model = network.model
    if model.unconditional is not None:
        raise InputError(
            "this certificate is of a classifier, and the network is a denoiser: give "
            "certify.name=noised_diffusion_classifier, or the workdir of a classifier."
        )
    inner = certifier(
        _network_vote(network),
        num_classes=model.num_classes,
        image_shape=model.image_shape,
        exact=network.exact and _network_vote(networks.in_float32(network)),
        sigma=sigma,
        n=n,
        chunk=chunk or _chunk_of(model.image_shape),
        **options,
    )
    return inputs.inside(inner)


recheck = procedures.recheck
"""The re-check of each procedure, which stands below the procedure itself."""
notes = bounding.notes


def _partial(vote: VoteFn) -> Partial:
    return vote if isinstance(vote, Partial) else Partial(vote)


def _network_vote(network: Network) -> Partial:
    return Partial(_vote_of(network.model.apply), *networks.prepared(network))


@functools.lru_cache(maxsize=8)
def _vote_of(apply):
    """Return the vote of a network, one function per network, so that a later certifier
    of it finds the compiled program."""

    def vote(params, state, keys, image):
        return apply(params, state, image, train=False)[0]

    return vote


@functools.lru_cache(maxsize=8)
def _differ_of(num_classes: int):
    """Return the vote whose class is 1 where two votes differ."""

    def differ(vote, exact, keys, image):
        both = [
            voting.classes(f(keys, image), len(image), num_classes)
            for f in (vote, exact)
        ]
        return jnp.not_equal(*both).astype(jnp.int32)

    return differ


def _check_image(image: np.ndarray, shape, noise: str, warned: set) -> None:
    """Raises InputError for images of another shape, and warns of pixels outside
    [0, 1]. warned: what this certifier has warned of before."""
    if shape is not None and image.shape[1:] != tuple(shape):
        raise InputError(
            f"the images are {image.shape[1:]} where the classifier takes {tuple(shape)}: "
            "give images of that shape."
        )
    if noise == "grid":
        noises.check_grid(image)
    elif (ends := images.outside(image)) and not warned:
        warned.add("units")
        warnings.warn(
            f"pixels from {ends[0]:.3g} to {ends[1]:.3g}: sigma and all radii are in the "
            "scale of the images, here not that of [0, 1].",
            stacklevel=4,
        )


def _default_chunk() -> int:
    """Return the chunk for the device: on a CPU the activations of a forward pass
    should stay in the cache."""
    return 20 if jax.default_backend() == "cpu" else 1000


def _chunk_of(image_shape: tuple[int, ...]) -> int:
    """Return 4000 for networks of small images on an accelerator, which it fills better
    than 1000 (ResNet-110 in bfloat16 takes 0.4 GB); else 0, the choice of `certifier`."""
    small = math.prod(image_shape) <= _SMALL
    return 4000 if small and jax.default_backend() != "cpu" else 0


def _float32_sigma(sigma: float) -> float:
    """Return the std that float32 noise has, so that the sigma in the certificate is
    the one that is drawn."""
    above(0, sigma=sigma)
    with np.errstate(over="ignore"):
        drawn = float(np.float32(sigma))
    if not _LEAST_SIGMA * (1 - 1e-6) <= drawn < math.inf:
        raise InputError(
            f"sigma {sigma} is no noise that float32 images can carry: give its std in "
            f"pixels of [0, 1], at least {_LEAST_SIGMA:g}."
        )
    return drawn


def _check(n0, n, alpha, procedure, chunk) -> None:
    one_of(procedures.NAMES, procedure=procedure)
    within("(0, 1)", alpha=alpha)
    whole_from(1, n0=n0, n=n)
    whole_from(0, chunk=chunk)
    if n0 + n + chunk + procedures.PILOT > np.iinfo(np.int32).max:
        raise InputError(
            f"n0 {n0}, n {n} and chunk {chunk} are too many to count in 32 bits: give "
            "less than 2,147,482,648 together."
        )
