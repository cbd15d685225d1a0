"""The Lipschitz certificate of a diffusion classifier: Chen, Dong, Shao, Hao, Yang, Su and
Zhu, Diffusion Models are Certifiably Robust Classifiers (2024, arXiv:2402.02316), after
Theorem 3.1.

    f_y(x) = - sum_t w_t E_eps [ mean_pixels (h(x + s_t eps, s_t, y) - x)^2 ],  h in [0, 1]
    radius = min_b (lower bound of f_a(x) - f_b(x)) / L_margin

| paper | here |
|---|---|
| h, y | network, label; clipped to [0, 1] |
| w_t, sigma_t, T' | Levels.weight, Levels.sigma (of [-1, 1]), levels |
| p_A - p_B | the margin f_a - f_b: the softmax is not needed |

f is an expectation. The class a is chosen by n0 draws of the noise, its margins are
bounded from n others, so a false radius has probability at most alpha
(diffusion/lipschitz.py has the constants, which are not the paper's, and the proof).
Noise is taken to be exactly normal: the rounding of x + s_t eps in float32 is not in
the bound, and n is limited to what cannot distinguish float32 noise from normal noise
(certificates/noise.py). Evidence of a row: the bounds, as logits 0 for a and minus the
bound for the others. For an image without a positive bound the certificate abstains.
"""

from __future__ import annotations

import functools
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import Partial

from jaxcert import random_keys
from jaxcert.certificate import ABSTAIN, ERROR, Certificates
from jaxcert.certificates import _arithmetic, inputs, noise, rechecking, statistics
from jaxcert.certificates.lipschitz import recheck_margins
from jaxcert.certificates.networks import denoiser_of
from jaxcert.diffusion import classifiers, edm, lipschitz
from jaxcert.errors import InputError, one_of, whole_from, within
from jaxcert.interfaces import Certifier, Network, Plan
from jaxcert.ops.images import check_range, unit
from jaxcert.records import SAME

_PAIRS = (1000, 80)
"""How many pairs of a draw and a class a forward pass takes, on an accelerator and on a
CPU."""
_BOUNDS = {"bernstein": statistics.bernstein_of, "hoeffding": statistics.hoeffding_of}


@random_keys.pinned()
def make(
    network: Network,
    *,
    weighting: str = "edm",
    levels: int = 126,
    sigma_end: float = 3.0,
    drop_below: float = 0.0,
    cap: float = 1.0,
    n0: int = 10,
    n: int = 1000,
    alpha: float = 0.001,
    bound: str = "bernstein",
    chunk: int = 0,
    mesh: Mesh | None = None,
) -> Certifier:
    """Return the certifier of the diffusion classifier of an EDM, in l2.

    weighting, levels, sigma_end, drop_below: arguments of classifiers.dc, in the scale
    of [-1, 1].
    cap: larger errors count as this one, which reduces L_margin more than the margins;
    1 is the paper's classifier. n0, n: draws that choose the class, and that bound its
    margins.
    bound: bernstein | hoeffding. chunk: draws in one forward pass (0: by the device).

    Raises InputError for a classifier, an EDM without classes, or impossible numbers.
    """
    _arithmetic.check()
    model = network.model
    denoise = denoiser_of(network)
    if model.num_classes < 2:
        raise InputError(
            "the EDM has no classes, so it classifies nothing: give one trained with labels."
        )
    whole_from(1, n0=n0)
    whole_from(2, n=n)  # two for a variance
    whole_from(0, chunk=chunk)
    within("(0, 1)", alpha=alpha)
    one_of(_BOUNDS, bound=bound)
    most = round(1 / noise.least_tail("gaussian"))
    if n > most:
        raise InputError(
            f"n {n} draws distinguish float32 noise from the normal noise that the "
            f"certificate assumes: give at most {most}."
        )
    asked = dict(
        levels=levels, weighting=weighting, sigma_end=sigma_end, drop_below=drop_below
    )
    law = _law(model.num_classes, **asked)
    weight, sigma = law.levels.weight, law.levels.sigma
    dims = int(np.prod(model.image_shape))
    constant = lipschitz.lipschitz_margin(weight, sigma, dims=dims, cap=cap)
    chunk = chunk or max(1, _PAIRS[jax.default_backend() == "cpu"] // model.num_classes)
    errors, memory = _errors_of(denoise, law, chunk, mesh)

    @random_keys.pinned()
    def certify(key, image, label, index) -> Certificates:
        start, key = time.perf_counter(), random_keys.checked(key)
        image, index = np.asarray(unit(np.asarray(image))), inputs.check_index(index)
        _check(image, model.image_shape)
        inputs.check_lengths(image, label, index)
        inputs.check_label(label)
        rows = [_row(key, *each) for each in zip(image, index, strict=True)]
        predicted, evidence, radius, means, variances = (
            np.array(part) for part in zip(*rows, strict=True)
        )
        elapsed = time.perf_counter() - start
        return Certificates(
            index=index,
            label=np.asarray(label, np.int32),
            predicted=predicted.astype(np.int32),
            radius=radius,
            n=np.full(len(index), n, np.int64),
            seconds=np.full(len(index), elapsed / max(len(index), 1)),
            logits=evidence,
            means=means,
            variances=variances,
            header=header,
        )

    def _row(key, image, index):
        nothing = np.zeros(model.num_classes)
        if not np.isfinite(image).all():
            return ERROR, nothing, 0.0, nothing, nothing
        u = errors(jax.random.fold_in(key, np.uint32(index)), image, n0 + n)
        if not np.isfinite(u).all():
            return ERROR, nothing, 0.0, nothing, nothing
        capped = np.minimum(u[:n0].astype(np.float64), cap)
        a = int(np.einsum("t,ntk->k", weight, capped).argmin())
        samples, most = lipschitz.margin_samples(
            u[n0:], a, weights=weight, dims=dims, cap=cap
        )
        found = samples.mean(0), samples.var(0, ddof=1)
        lower = _BOUNDS[bound](*found, n, -most, most, alpha)
        radius = float(lipschitz.radius(lower, constant))
        evidence, *found = (np.insert(x, a, 0.0) for x in (-lower, *found))
        return (a if radius > 0 else ABSTAIN), evidence, radius, *found

    @random_keys.pinned()
    def plan(key, image) -> Plan:
        key = random_keys.checked(key)
        image = np.asarray(unit(np.asarray(image[:1])))
        _check(image, model.image_shape)
        image = image[0]
        errors(key, image, chunk)  # compiles
        start = time.perf_counter()
        errors(key, image, chunk)
        rate = chunk / (time.perf_counter() - start)
        most = float(np.sum(weight * cap))
        best = _BOUNDS[bound](np.array([most]), 0.0, n, -most, most, alpha)
        return Plan(
            radius=float(lipschitz.radius(best, constant)),
            samples=n0 + n,
            memory=memory(key, image, n0 + n),
            rate=rate,
            evaluations=float(law.evaluations),
        )

    header = {
        "method": "diffusion_classifier",
        "norm": "l2",
        "alpha": alpha,
        "num_classes": model.num_classes,
        "generator": random_keys.GENERATOR | random_keys.OF_LEVELS,
        "procedure": {
            "name": "margin",
            "logit_slack": 0.0,
            "n0": n0,
            "n": n,
            "bound": bound,
            "cap": cap,
            **asked,
            "weights": weight.tolist(),
            "sigmas": sigma.tolist(),
        },
        "network": {"norm": "l2", "image_shape": list(model.image_shape)},
        "pairwise_bound": constant,
        # the constant of one logit at these weights, for comparison only
        "published_lipschitz": {
            "theorem": lipschitz.lipschitz_paper(weight, sigma, dims=dims),
            "code": lipschitz.lipschitz_repo(weight, sigma),
        },
    }
    return Certifier(header, certify, plan, model.image_shape)


def recheck(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (proven, holds), see rechecking.py. The record has the bounds of the
    margins as logits, from which a radius follows as in the Lipschitz certificate, for
    as many draws as were asked for."""
    rechecking.name_of(c, ("margin",))
    rechecking.need(c, "logits")
    if c.header.get("norm") != "l2":
        raise rechecking.contradiction(
            f"norm {c.header.get('norm')} where a diffusion classifier has l2"
        )
    rechecking.alpha_of(c)
    rechecking.network(c)
    proven, holds = recheck_margins(c, rows)
    # the logits of a row are minus its bounds: that of the class itself is 0
    own = rechecking.column(c, "logits")[rows, c.predicted[rows]]
    holds &= (own == 0) & rechecking.has_all_samples(c, rows)
    if rechecking.stated(c, "weights", rechecking.procedure(c)) is not None:
        holds &= _recheck_bounds(c, rows)
    return proven, holds


def _recheck_bounds(c: Certificates, rows: np.ndarray) -> np.ndarray:
    """Return bool [R]: whether the bounds of the margins, which `logits` are, follow from the
    means and variances of the samples. Raises InputError for a header whose weights, levels or
    constant do not follow from its settings."""
    asked = rechecking.procedure(c)
    logits = rechecking.column(c, "logits")[rows]
    mean, variance = (rechecking.column(c, k)[rows] for k in ("means", "variances"))
    try:
        keys = ("levels", "weighting", "sigma_end", "drop_below")
        law = _law(logits.shape[1], **{k: asked.get(k) for k in keys})
        weight, sigma = (np.asarray(asked.get(k), float) for k in ("weights", "sigmas"))
        dims = math.prod(rechecking.image_shape(c))
        cap = rechecking.number(c, "cap", asked)
        most = lipschitz.largest_margin(weight, cap)
        wanted = lipschitz.lipschitz_margin(weight, sigma, dims=dims, cap=cap)
        same = [
            one.shape == other.shape and np.allclose(one, other, rtol=1e-9, atol=0)
            for one, other in ((weight, law.levels.weight), (sigma, law.levels.sigma))
        ]
    except (InputError, TypeError, ValueError, ArithmeticError) as error:
        raise rechecking.contradiction(f"its levels are none: {error}") from None
    if not all(same):
        raise rechecking.contradiction(
            "weights or sigmas that are not those of its levels"
        )
    stated = c.header.get("pairwise_bound")
    close = wanted * (1 - 1e-12), wanted * (1 + SAME)
    if type(stated) is not float or not close[0] <= stated <= close[1]:
        raise rechecking.contradiction(
            f"pairwise_bound {stated!r} where weights, levels and cap give {wanted}"
        )
    bound, n = asked.get("bound"), rechecking.whole(c, "n", asked, 2)
    if bound not in _BOUNDS:
        raise rechecking.contradiction(f"the bound {bound!r} of its margins")
    lower = _BOUNDS[bound](mean, variance, n, -most, most, rechecking.alpha_of(c))
    others = np.arange(logits.shape[1]) != c.predicted[rows][:, None]
    fits = (np.abs(mean) <= most) & (variance >= 0)
    fits &= ~others | (-logits <= lower + rechecking.ROUNDING * most)
    return fits.all(1)


def _law(num_classes: int, **asked: Any) -> classifiers.Classifier:
    """Return the classifier with these arguments of `classifiers.dc`, whose levels are float32,
    as noise is drawn: the constant is that of its sigma."""
    law = classifiers.dc(num_classes, asked.pop("levels"), **asked)
    drawn = law.levels.sigma.astype(np.float32).astype(np.float64)
    return law._replace(levels=law.levels._replace(sigma=drawn, noise=drawn))


def _errors_of(denoise: Partial, law: classifiers.Classifier, chunk: int, mesh):
    """Return (errors, memory), two functions of (key, image [H,W,C] in [0, 1], draws):
    the errors u float32 [draws,T,K] on the host, and the bytes that they take on each
    device."""
    levels = tuple(law.levels.sigma.tolist())
    classes = law.num_classes
    devices = 1 if mesh is None else mesh.shape["data"]
    size = -(-chunk // devices) * devices
    static = dict(levels=levels, classes=classes, size=size, mesh=mesh)

    @functools.cache
    def there() -> Partial:
        if mesh is None:
            return denoise
        return jax.device_put(denoise, NamedSharding(mesh, PartitionSpec()))

    def errors(key, image, draws):
        image = jnp.asarray(image, jnp.float32)
        found = [
            _errors(there(), key, image, jnp.int32(first), **static)
            for first in range(0, draws, size)
        ]
        return np.concatenate(jax.device_get(found))[:draws]

    def memory(key, image, draws):
        given = there(), key, jnp.asarray(image, jnp.float32), jnp.int32(0)
        analysis = _errors.lower(*given, **static).compile().memory_analysis()
        assert analysis is not None
        kept = -(-draws // size) * analysis.output_size_in_bytes
        return analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + kept

    return errors, memory


@functools.partial(jax.jit, static_argnames=("levels", "classes", "size", "mesh"))
def _errors(denoise, key, image, first, *, levels, classes, size, mesh):
    """Return the errors u [size, T, K] of the draws from `first` on; draw j takes its
    noise from fold_in(key, j)."""
    sigma = jnp.asarray(levels, jnp.float32)
    clean = edm.to_signed(image)
    label = jnp.tile(jnp.arange(classes, dtype=jnp.int32), size)

    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(
        first + jnp.arange(size)
    )
    noise = classifiers.draws(keys, jnp.broadcast_to(clean, (size, *clean.shape)))

    def at(t):
        noisy = jnp.repeat(clean + sigma[t] * noise(t), classes, 0)
        if mesh is not None:
            split = NamedSharding(mesh, PartitionSpec("data"))
            noisy = jax.lax.with_sharding_constraint(noisy, split)
        denoised = denoise(noisy, jnp.full(len(noisy), sigma[t]), label)
        return lipschitz.clipped_error(denoised, image).reshape(size, classes)

    return jax.lax.map(at, jnp.arange(len(levels))).swapaxes(0, 1)


def _check(image: np.ndarray, shape: tuple[int, ...]) -> None:
    if image.shape[1:] != tuple(shape):
        raise InputError(
            f"the images are {image.shape[1:]} where the EDM takes {tuple(shape)}: give "
            "images of that shape."
        )
    check_range(image)
