"""Interval certificate of distance nets: an image is verified, or not, at given l_inf
radii.

Zhang et al. (2021, arXiv:2102.05363), section 4.3, which both repositories report as
certified accuracy. The box [max(x - eps, 0), min(x + eps, 1)] of valid images goes
through the network layer by layer. The prediction y holds in it if a lower bound of
z_y - z_j is positive for every j != y. It is never weaker than the Lipschitz margin at
the same eps, because pixels are clipped and each neuron keeps its own slack.

Every positive radius of `certify.radii` is tried; `radius` is the largest that holds, 0
if none does. Everything is float64; a bound counts only above twice `logit_slack`, as
in lipschitz.py, and the box is rounded outwards. The least bound of every radius goes
into the record (`least_margins`), so that the re-check notices a radius that was raised
afterwards.
"""

from __future__ import annotations

import functools
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxcert import random_keys
from jaxcert.certificate import ERROR, Certificates
from jaxcert.certificates import lipschitz, rechecking
from jaxcert.errors import InputError
from jaxcert.interfaces import Certifier, Network
from jaxcert.records import FORMAT, SAME


@random_keys.pinned()
def make(
    network: Network, *, radii: tuple[float, ...], mesh: Mesh | None = None
) -> Certifier:
    """Return the certifier of a network with interval bounds, which is deterministic;
    radii are in pixels.

    Raises InputError for a network without such bounds, and if no radius is in (0, 1].
    """
    model = network.model
    lipschitz_bound = model.lipschitz_bound
    if model.interval_margins is None or lipschitz_bound is None:
        raise InputError(
            "the interval certificate needs a network with interval bounds, such as dist_net."
        )
    tried = sorted({float(r) for r in radii if r != 0})
    if not tried or not all(0 < r <= 1 for r in tried):
        raise InputError(
            f"the interval certificate tries the radii in (0, 1] of certify.radii, not {radii}."
        )
    lipschitz.check_weights(network)

    @functools.cache
    @random_keys.pinned()
    def proof():
        params, state = lipschitz.evaluated(network, mesh)
        bound = lipschitz_bound(params, state)
        slack = lipschitz.logit_slack(model, params, state, bound)
        procedure = {"name": "interval", "radii": tried, "logit_slack": slack}
        constants = lipschitz.constants_in_header(bound, bound.pairwise * (1 + 1e-12))
        return params, state, slack, {"procedure": procedure} | constants

    @random_keys.pinned()
    def certify(key, image, label, index) -> Certificates:
        params, state, slack, header = proof()
        start, rows = time.perf_counter(), len(index)
        radius, evidence = np.zeros(rows), np.full((rows, len(tried)), np.nan)
        with jax.enable_x64(True):
            images = lipschitz.on_devices(image, mesh)
            logits = lipschitz.logits_of(model.apply, params, state, images)
            finite = np.isfinite(np.asarray(logits)[:rows]).all(1)
            y = jnp.argmax(logits, 1)
            own = np.arange(model.num_classes) == np.asarray(y)[:rows, None]
            for j, r in enumerate(tried):
                found = margins_of(model.interval_margins, params, state, images, y, r)
                least = np.where(own, np.inf, np.asarray(found)[:rows]).min(1)
                evidence[:, j] = least
                holds = (least > 2 * slack) & finite  # also false for NaN
                radius[holds] = r
                if not holds.any():  # boxes only grow
                    break
        predicted = np.where(finite, np.asarray(y)[:rows], ERROR)
        return Certificates(
            index=np.asarray(index, np.int64),
            label=np.asarray(label, np.int32),
            predicted=predicted.astype(np.int32),
            radius=radius,
            n=np.ones(rows, np.int64),
            seconds=np.full(rows, (time.perf_counter() - start) / max(rows, 1)),
            logits=np.asarray(logits)[:rows],
            least_margins=evidence,
            header=settings | header,
        )

    settings = {
        "method": "interval",
        "norm": model.norm,
        "alpha": 0,
        "num_classes": model.num_classes,
        "procedure": {"name": "interval", "radii": tried},
        "network": lipschitz.network_in_header(model),
    }
    return Certifier(
        settings, certify, image_shape=model.image_shape, prove=lambda: proof()[-1]
    )


@partial(jax.jit, static_argnums=0)
def margins_of(interval_margins, params, state, image, label, eps):
    """Return lower bounds [B,K] of z_label - z_j in the box of valid pixels around
    images [B,H,W,C]; eps in pixels, the box rounded outwards."""
    lower = jnp.maximum(jnp.nextafter(image - eps, -jnp.inf), 0)
    upper = jnp.minimum(jnp.nextafter(image + eps, jnp.inf), 1)
    return interval_margins(params, state, lower, upper, label)


def recheck(c: Certificates, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (proven, holds), see rechecking.py: proven is the largest of
    procedure.radii whose least margin, the least lower bound of z_y - z_j on its box,
    is above twice the slack. Margins do not grow with the box and are at most z_y - z_j
    at the image, up to twice the slack; the predicted class y has the largest logit."""
    rechecking.name_of(c, ("interval",))
    radius, y = c.radius[rows], c.predicted[rows]
    logits = rechecking.column(c, "logits")[rows]
    tried = rechecking.radii(c)
    if (tried > 1).any():
        raise rechecking.contradiction(
            f"radius {tried.max()} where tried are those up to 1"
        )
    if rechecking.stated(c, "pairwise_bound", c.header) is None:
        lipschitz.check_slack(c, 1.0, "model")  # the least of a distance net
    else:
        lipschitz.check_constants(c, logits.shape[1])
    slack = rechecking.number(c, "logit_slack", rechecking.procedure(c))
    others = np.arange(logits.shape[1]) != y[:, None]
    at_image = logits[np.arange(len(y)), y] - np.where(others, logits, -np.inf).max(1)
    # the slack of a row that another device appended: see `lipschitz.recheck`
    least_sure, most_wrong = 2 * slack * (1 - SAME), 2 * slack * (1 + SAME)
    proven = np.zeros(len(rows))
    fits = (at_image >= 0) & np.isfinite(logits).all(1)
    # a record of version 0.1 has the margins of the row's own radius
    if c.margins is not None and c.header.get("format") != FORMAT:
        margins = np.where(others, c.margins[rows], np.inf).min(1)
        proven = np.where(margins > least_sure, radius, 0.0)
        fits &= ~(margins > at_image + most_wrong)
    if c.least_margins is not None:
        least = c.least_margins[rows]
        if least.shape[1] != len(tried):
            raise InputError(
                f"the record's rows have margins of {least.shape[1]} radii where its "
                f"procedure tried {len(tried)}: certify into another file with --out."
            )
        sure = least > least_sure
        largest = np.where(sure, tried, 0.0).max(1, initial=0.0)
        proven = np.where(np.isnan(least).all(1), proven, largest)
        # those of the image and of every smaller box that was computed
        before = np.fmin.accumulate(np.column_stack([at_image, least[:, :-1]]), axis=1)
        fits &= ~(least > before + most_wrong).any(1)
    holds = fits & (radius <= proven) & ((radius == 0) | np.isin(radius, tried))
    return np.where(fits, proven, 0.0), holds


def notes(c: Certificates, rows: np.ndarray) -> list[str]:
    """Return a sentence if rows keep fewer margins than were computed, which are those
    up to the first radius that fails, as rows of version 0.1 do."""
    tried, radius = rechecking.radii(c), c.radius[rows]
    known = np.zeros((len(rows), len(tried)), bool)
    if c.least_margins is not None:
        known = ~np.isnan(c.least_margins)[rows]
    needed = np.minimum((tried <= radius[:, None]).sum(1), len(tried) - 1)
    seen = (known | (np.arange(len(tried)) > needed[:, None])).all(1)
    less = int((~seen & (radius > 0)).sum())
    if not less:
        return []
    return [
        f"{less} rows keep the margins of their own radius only, as version 0.1 wrote them: "
        "a radius that was raised after certification is not seen there"
    ]
