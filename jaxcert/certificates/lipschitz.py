"""Radius of a network whose Lipschitz constants are known.

z_y - z_j is pairwise[y,j]-Lipschitz in pixels, so no image within

    r = min_{j != y} (z_y - z_j) / pairwise[y,j],     y = argmax z

changes the prediction (Tsuzuku, Sato and Sugiyama 2018; LOT: sqrt(2) L for all pairs;
normalised last layer: L |w_y - w_j|).

`radius` follows from `Model.lipschitz_bound`, a proven bound of the prepared kernels,
and on a float64 forward pass; `radius_paper` is the radius that the originals print,
with their estimate of the same constants. Rounding: every logit counts as wrong by
`logit_slack`, and the radius is at most the exact value of the numbers in the record.
The rounding error of float64 grows with the numbers inside the network: an image as the
first layer sees it, and what the parameters add to it (a bias can be huge and cancel
later). The slack is 2^-30 of the largest difference that the network can make within
the pixel box (its constant times the box' diameter), some 10^6 times the error of forty
layers, plus 2^-40 of all that is added, some 10^4 times its error; where layers can
expand, both are multiplied by the growth up to the logits.
"""

from __future__ import annotations

import functools
import math
import time
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcert import random_keys
from jaxcert.certificate import ERROR, Certificates
from jaxcert.certificates import _arithmetic, networks, rechecking
from jaxcert.errors import InputError, one_of
from jaxcert.interfaces import Bound, Certifier, Model, Network, Tell
from jaxcert.ops import margins
from jaxcert.ops.images import check_range, unit
from jaxcert.progress import Progress
from jaxcert.records import SAME

METHODS = ("exact", "gram", "tight", "torus")
"""How bounds of layers are proven (docs/records.md)."""
_DISTANCE = "NormDist"
"""The kind of the layers that are Lipschitz in linf, and not in l2."""


@random_keys.pinned()
def make(
    network: Network, *, bound: str = "tight", mesh: Mesh | None = None
) -> Certifier:
    """Return the certifier of a Lipschitz network. It is deterministic, so alpha is 0
    and keys are unused. The constants are proven when the header or a radius is first
    asked for.

    bound: tight | torus, of zero-padded convolutions (ops.spectral.conv_bound); torus takes
    seconds where tight takes minutes, for radii some tenths of a percent smaller per layer on
    16x16 images, percents on smaller ones. Other layers have one bound. Raises InputError for
    a network without Lipschitz constants or with weights that are not finite.
    """
    model = network.model
    one_of(("tight", "torus"), bound=bound)
    lipschitz, lipschitz_bound = model.lipschitz, model.lipschitz_bound
    if lipschitz is None or lipschitz_bound is None:
        raise InputError(
            "the lipschitz certificate needs a Lipschitz network, such as lip_convnet; other "
            "classifiers are certified by smoothing."
        )
    check_weights(network)

    @functools.cache
    @random_keys.pinned()
    def proof() -> _Proof:
        params, state = evaluated(network, mesh)
        with jax.enable_x64(True):
            proven = lipschitz_bound(
                params, state, tight=bound == "tight", tell=_tell()
            )
            paper = np.asarray(lipschitz(params, state)[0], np.float64)
        slack = logit_slack(model, params, state, proven)
        pairwise = proven.pairwise * (1 + 1e-12)
        header = {"procedure": {"name": "margin", "logit_slack": slack}}
        header |= constants_in_header(proven, pairwise)
        return _Proof(params, state, pairwise, paper, slack, header)

    @random_keys.pinned()
    def certify(key, image, label, index) -> Certificates:
        params, state, pairwise, paper, slack, header = proof()
        start = time.perf_counter()
        with jax.enable_x64(True):
            images = on_devices(image, mesh)
            logits = np.asarray(logits_of(model.apply, params, state, images))
            logits = logits[: len(index)]
        predicted = np.where(np.isfinite(logits).all(1), logits.argmax(1), ERROR)
        rows, known = len(index), predicted >= 0
        radius, paper_radius = np.zeros(rows), np.zeros(rows)
        y = predicted[known]
        if math.isfinite(slack):
            radius[known] = margins.proven_radius(logits[known], pairwise, y, slack)
        paper_radius[known] = _paper_radius(logits[known], paper, y)
        return Certificates(
            index=np.asarray(index, np.int64),
            label=np.asarray(label, np.int32),
            predicted=predicted.astype(np.int32),
            radius=radius,
            n=np.ones(rows, np.int64),
            seconds=np.full(rows, (time.perf_counter() - start) / max(rows, 1)),
            radius_paper=paper_radius,
            logits=logits,
            header=settings | header,
        )

    settings = {
        "method": "lipschitz",
        "norm": model.norm,
        "alpha": 0,
        "num_classes": model.num_classes,
        "procedure": {"name": "margin"},
        "network": network_in_header(model),
    }
    return Certifier(
        settings, certify, image_shape=model.image_shape, prove=lambda: proof().header
    )


def network_in_header(model: Model) -> dict[str, Any]:
    """Return what a header says of the network itself."""
    return {"norm": model.norm, "image_shape": list(model.image_shape)}


def constants_in_header(bound: Bound, pairwise: np.ndarray) -> dict[str, Any]:
    """Return the constants [K,K] of a header, and those of the layers of which they are the
    product."""
    head = pairwise if bound.head is None else bound.head
    return {
        "pairwise_bound": _one_or_all(pairwise),
        "layers": [each._asdict() for each in bound.layers],
        "head": _one_or_all(head),
    }


def _one_or_all(constants: np.ndarray) -> float | list[list[float]]:
    """Return one number where that of every pair of classes is the same."""
    constants = np.asarray(constants, np.float64)
    off = constants[~np.eye(len(constants), dtype=bool)]
    return float(off[0]) if (off == off[0]).all() else constants.tolist()


class _Proof(NamedTuple):
    params: Any
    state: Any
    pairwise: np.ndarray
    """float64 [K,K], proven"""
    paper: np.ndarray
    """float64 [K,K], the estimate of the originals"""
    slack: float
    header: dict[str, Any]
    """the fields of the header with these constants"""


def _tell() -> Tell:
    """Report the bounds of single layers as progress, because each can take minutes."""
    line = None

    def tell(done: int, total: int) -> None:
        nonlocal line
        line = line or Progress("bound", total, "layers")
        line.update(done)

    return tell


def evaluated(network: Network, mesh: Mesh | None):
    """Return (params, state) in float64, prepared and on all devices. Raises InputError
    as `check_weights` does."""
    check_weights(network)
    with jax.enable_x64(True):
        params, state = jax.tree.map(_float64, (network.params, network.state))
        state = jax.jit(network.model.prepare)(params, state)
        if mesh is None:
            return params, state
        everywhere = NamedSharding(mesh, PartitionSpec())
        return jax.device_put((params, state), everywhere)


def check_weights(network: Network) -> None:
    """Raises InputError for weights of which no certificate can be made, and where
    compiled programs are inexact."""
    _arithmetic.check()
    leaves = jax.tree.leaves((network.params, network.state))
    leaves = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    finite = (np.isfinite(leaf).all() for leaf in leaves)
    if networks.has_arrays(network) and not all(finite):
        raise InputError("the network has weights that are not finite: train it again.")
    if any(jnp.dtype(leaf.dtype).itemsize < 4 for leaf in leaves):
        raise InputError(
            "the network has 16-bit weights, and in 16 bits a distance errs by up to 4e-3, a "
            "norm by more: certify the float32 weights that they were rounded from."
        )


def logit_slack(model: Model, params, state, bound: Bound) -> float:
    """Return how far each float64 logit may be off, as explained above."""
    off = ~np.eye(model.num_classes, dtype=bool)
    constant = max(float(bound.pairwise[off].max()), bound.growth)
    if not math.isfinite(constant):
        return math.inf
    box = 2.0**-30 * constant * math.sqrt(math.prod(model.image_shape))
    return box + 2.0**-40 * max(constant, 1.0) * _added(model, params, state)


def _added(model: Model, params, state) -> float:
    """Return the most that the parameters can add to the norm of the activations of a
    network whose layers are contractions."""
    if model.norm == "linf":  # distances: |x - w| is at most |x| + |w|
        return sum(float(np.abs(a).max()) for a in jax.tree.leaves((params, state)))
    # kernels add nothing, any other array as much as a bias at every pixel
    paths = jax.tree_util.tree_leaves_with_path(params)
    paths += jax.tree_util.tree_leaves_with_path(state.get("batch_stats", {}))
    others = (np.asarray(a) for path, a in paths if path[-1].key != "kernel")
    pixels = math.prod(model.image_shape[:2])
    return math.sqrt(pixels) * sum(float(np.linalg.norm(a)) for a in others)


def on_devices(image, mesh: Mesh | None):
    """Return float64 images in [0, 1], split over the devices; the last image is
    repeated until their number divides evenly."""
    devices = 1 if mesh is None else mesh.shape["data"]
    image = np.asarray(image)
    check_range(image)
    image = np.concatenate([image, np.repeat(image[-1:], -len(image) % devices, 0)])
    image = unit(image, dtype=jnp.float64)
    if mesh is None:
        return image
    return jax.device_put(image, NamedSharding(mesh, PartitionSpec("data")))


@partial(jax.jit, static_argnums=0)
def logits_of(apply, params, state, image):
    """Return the logits [B,K]. They are NaN for an image with a pixel that is not
    finite, because the rectifiers of compiled programs on a CPU turn NaN into 0."""
    logits = apply(params, state, image)[0]
    known = jnp.isfinite(image).all((1, 2, 3))
    return jnp.where(known[:, None], logits, jnp.nan)


def _paper_radius(logits, pairwise, y) -> np.ndarray:
    """Return the radius with the estimated constants, float64 [B]; 0 where there is no
    margin."""
    with jax.enable_x64(True):
        radius = margins.radius(jnp.asarray(logits), jnp.asarray(pairwise), y)
    return np.maximum(np.nan_to_num(np.asarray(radius)), 0.0)


def recheck(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (proven, holds), see rechecking.py, by `recheck_margins` with a slack that
    the constants of the header and the pixels of its model allow."""
    rechecking.name_of(c, ("margin",))
    check_constants(c, rechecking.column(c, "logits").shape[1])
    return recheck_margins(c, rows)


def check_constants(c: Certificates, classes: int) -> None:
    """Raises InputError for constants in the header that are none, or not the product of those of
    its layers, and for a slack below what they ask for."""
    rechecking.network(c)
    pairwise = _pairwise(c, classes)
    off = ~np.eye(classes, dtype=bool)
    layers = rechecking.stated(c, "layers", c.header)
    if rechecking.stated(c, "head", c.header) is not None and layers is not None:
        product = _product(layers, c.header.get("norm"))
        head = _pairwise(c, classes, "head")[off]
        least = np.where(head * product > 0, np.nextafter(head * product, np.inf), 0.0)
        least = head if product == 1 else least
        # 0 times inf is no bound
        least = np.where(np.isnan(head * product), np.inf, least)
        if not (pairwise[off] >= least).all():
            raise rechecking.contradiction(
                f"a pairwise_bound below the product {product:.6g} of its layers times its head"
            )
        # nothing is claimed by infinity, which one layer gives to all pairs
        close = (pairwise[off] <= least * (1 + SAME)) | np.isinf(pairwise[off])
        if not close.all():
            raise rechecking.contradiction(
                f"a pairwise_bound that is not the product {product:.6g} of its layers times its "
                "head"
            )
    check_slack(c, pairwise[off].max(initial=0.0), "pairwise_bound")


def _product(layers: Any, norm: Any) -> float:
    """Return the product of the bounds of layers, rounded up. Raises InputError for what are no
    layers with a bound and a method, or not those of a network of this norm."""
    known = isinstance(layers, list) and all(
        isinstance(each, dict)
        and all(type(each.get(k)) is str for k in ("name", "kind"))
        and each.get("method") in METHODS
        and type(each.get("bound")) in (int, float)
        and each["bound"] >= 0
        for each in layers
    )
    if not known:
        raise rechecking.contradiction(
            "layers that lack a name, a kind, a method or a bound"
        )
    distances = any(each["kind"].endswith(_DISTANCE) for each in layers)
    if layers and distances != (norm == "linf"):
        raise rechecking.contradiction(f"norm {norm} of layers that are of another")
    bounds = [each["bound"] for each in layers]
    if not all(map(math.isfinite, bounds)):
        return math.nan if 0 in bounds else math.inf
    exact = math.prod(map(Fraction, bounds))
    try:
        rounded = float(exact)
    except OverflowError:
        return math.inf
    return rounded if Fraction(rounded) >= exact else math.nextafter(rounded, math.inf)


def check_slack(c: Certificates, constant: float, of: str) -> None:
    """Raises InputError for a header whose slack is below that of `logit_slack` for
    images of its model and the constant alone. of: the field of the header with the
    constant."""
    if not (shape := rechecking.image_shape(c)):
        return
    slack = rechecking.procedure(c).get("logit_slack")
    least = 2.0**-30 * constant * math.sqrt(math.prod(shape)) * (1 - SAME)
    if not (isinstance(slack, int | float) and slack >= least):
        raise rechecking.contradiction(
            f"logit_slack {slack} where its {of} asks for {least:.3g}"
        )


def recheck_margins(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (proven, holds), see rechecking.py: proven = min_j (z_y - z_j - 2
    s) / pairwise[y, j] with y the predicted class, which has the largest logit, z and
    s = procedure.logit_slack in float64, and pairwise [K,K], or one number for all pairs,
    of the header."""
    logits, y = rechecking.column(c, "logits")[rows], c.predicted[rows]
    slack = rechecking.number(c, "logit_slack", rechecking.procedure(c))
    pairwise = _pairwise(c, logits.shape[1])[y]
    margin = logits[np.arange(len(rows)), y][:, None] - logits
    others = np.arange(logits.shape[1]) != y[:, None]

    def radius(margin):
        ratio = margin / pairwise
        # 0 / 0 and inf / inf prove nothing
        ratio = np.where(np.isnan(ratio), 0.0, ratio)
        return np.maximum(np.where(others, ratio, np.inf).min(1), 0.0)

    # The same sums in another order may round differently. A row that another device
    # appended was certified with its own bound and slack, which differ from the
    # header's by SAME at most (`records.Writer` sees to that): so much of the radius may
    # exceed the header's evidence, and so much of the slack, which is a million times
    # what rounding asks for. Where it is not, as no certifier writes, the slack still counts.
    rounding = 4 * np.finfo(float).eps * np.abs(logits).max(1, keepdims=True)
    rounding = np.minimum(rounding, slack)
    most = radius(margin - 2 * slack * (1 - SAME) + rounding) * (1 + SAME)
    holds = (margin >= 0).all(1) & np.isfinite(logits).all(1)
    holds &= c.radius[rows] <= most
    return radius(margin - 2 * slack), holds


def _pairwise(
    c: Certificates, classes: int, name: str = "pairwise_bound"
) -> np.ndarray:
    """Return the header's bounds [K,K]. Raises InputError if they are not bounds."""
    try:
        bound = np.asarray(c.header.get(name), np.float64)
        pairwise = np.broadcast_to(bound, (classes, classes))
        off_diagonal = pairwise[~np.eye(classes, dtype=bool)]
    except (ValueError, TypeError):
        pairwise = off_diagonal = np.array([np.nan])
    symmetric = np.allclose(pairwise, pairwise.T, rtol=2 * SAME, atol=0, equal_nan=True)
    if not (off_diagonal >= 0).all() or bound.ndim not in (0, 2) or not symmetric:
        raise InputError(
            f"the record's {name} is not a bound for {classes} classes: certify "
            "into another file with --out."
        )
    return pairwise


def _float64(leaf):
    leaf = np.asarray(leaf)
    return leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf
