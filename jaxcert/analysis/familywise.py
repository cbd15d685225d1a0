"""Radii of a record that are all true together, with probability 1 - alpha.

A record promises each image by itself: its radius is false with probability at most alpha, so
of N images alpha N may be false on average. Here the radii are computed again from the stored
votes such that with probability at least 1 - alpha NONE of the N is false. R_i(a) is the radius
that the votes of image i prove at the level a: false with probability at most a, for each a.

bonferroni: the radii R_i(alpha / N). One of them is false with probability at most N alpha / N.

holm (Holm 1979, step-down): claims are made up to a largest radius r alone. Begin at the level
    a = alpha / N. An image with R_i(a) >= r has all that it can get, and gives its share to the
    others: with m of these, a becomes alpha / (N - m), until no more follow.

    None is false, with probability 1 - alpha. Call image i bad if its true radius is below r, and
    let there be b of them. Before the first false claim no bad image has reached r, so m is at
    most N - b and the level at most alpha / b. R_i rises with the level. So the first false
    claim needs a bad image whose R_i(alpha / b) is false, and that some of these b is has
    probability at most b alpha / b.

    Without an image that reaches r this is Bonferroni; at radii up to r it never certifies less.

Which of the two, alpha and r must not depend on what comes out.

R_i(a) is that of `certificates/claims.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxcert.certificate import ABSTAIN, Certificates
from jaxcert.certificates import claims, norms, rechecking, runner_up, statistics
from jaxcert.errors import InputError, one_of, within

NAMES = ("bonferroni", "holm")
RadiiAt = Callable[[float], np.ndarray]
"""Level -> the radius float64 [M] that each image's evidence proves at it, rising with the level;
-1 where not even a class is proven."""


class Family(NamedTuple):
    """The method, and the probability, by which all radii of a record are to hold together."""

    name: str
    alpha: float | None = None
    """largest probability that any claim is false; None: the alpha of the record"""


def parse(text: str) -> Family:
    """'holm' or 'holm=0.05' -> Family. Raises InputError."""
    name, given, value = text.partition("=")
    one_of(NAMES, **{"--familywise": name})
    if not given:
        return Family(name)
    try:
        alpha = float(value)
    except ValueError:
        raise InputError(
            f"--familywise has the alpha {value!r}: give a number, such as {name}=0.05."
        ) from None
    return Family(name, alpha)


def step_down(
    radii_at: RadiiAt, images: int, alpha: float, name: str, largest: float
) -> tuple[np.ndarray, float]:
    """Return (radii float64 [M], level): the claims of images of which all hold with
    probability 1 - alpha, -1 where there is none, and the level of each.

    images: how many may make a claim, at least M; largest: what `holm` claims at most.
    """
    level = alpha / images
    found = radii_at(level)
    if name == "bonferroni":
        return found, level
    done = 0
    while done < (now := int((found >= largest).sum())) < images:
        done, level = now, alpha / (images - now)
        found = radii_at(level)
    return np.minimum(found, largest), level


def together(c: Certificates, family: Family, largest: float) -> Certificates:
    """Return a record with radii that all hold together; one whose certificates are certain
    (alpha 0) as it is. Its header has the level of each as `alpha`, and in `familywise` what holds.

    largest: the largest radius that is of interest; `holm` claims none above it.
    Raises InputError for a record whose evidence does not allow it, and for an impossible alpha.
    """
    one_of(NAMES, familywise=family.name)
    if c.header.get("alpha") == 0 and c.header.get("format") != "tsv":
        return c
    name = rechecking.procedure(c).get("name")
    if c.counts is None or c.header.get("method") != "smoothing":
        raise InputError(
            f"--familywise computes radii again from votes, and a record of "
            f"{c.header.get('method', 'no method')} has none: certify with alpha / N, N the number "
            "of images, which is Bonferroni."
        )
    if name not in claims.PROCEDURES:
        each = rechecking.alpha_of(c) / len(c.index)
        raise InputError(
            f"--familywise cannot be computed for procedure {name}, which stops each image at the "
            f"level of its own alpha: certify with --config.certify.alpha={each:.3g}, which is "
            "Bonferroni, or by certify, two_stage or sequence."
        )
    own = rechecking.alpha_of(c)
    alpha = own if family.alpha is None else family.alpha
    within("(0, 0.3]", **{"--familywise": alpha})
    _check_votes(c, str(name), alpha / len(c.index))
    rows = np.flatnonzero(c.predicted >= 0)
    proven_at = claims.of(c, rows)
    count = len(c.index)
    radii, level = step_down(
        lambda level: proven_at(level / own).radius, count, alpha, family.name, largest
    )
    proven, p_lower = np.zeros(count), np.full(count, np.inf)
    proven[rows] = np.maximum(radii, 0.0)
    if c.p_lower is not None:
        drawn, law = proven_at(level / own).p_lower, rechecking.law(c)
        p_lower[rows] = norms.exact_p_lower(drawn, law["least_tail"])
    predicted = c.predicted.copy()
    predicted[rows[radii < 0]] = ABSTAIN
    held: dict[str, Any] = dict(name=family.name, alpha=alpha, images=count)
    if family.name == "holm":
        held["largest"] = float(largest)
    return c._replace(
        predicted=predicted,
        radius=proven,
        p_lower=None if c.p_lower is None else np.minimum(c.p_lower, p_lower),
        header=c.header | dict(alpha=level, familywise=held),
    )


def _check_votes(c: Certificates, name: str, level: float) -> None:
    """Raises InputError where not even votes that all agree prove a class at the level."""
    rival = rechecking.rival(c)
    split = 1 if rival.name == "auto" else runner_up.bounds(rival, c.counts.shape[1])
    if name == "sequence" and rechecking.procedure(c).get("bound") == "union":
        split *= len(rechecking.looks(c))
    n = rechecking.whole(c, "n", rechecking.procedure(c))
    least = statistics.min_n_for_any_radius(level / split)
    if n < least:
        raise InputError(
            f"--familywise leaves each of {len(c.index):,} images {level:.3g} of alpha, at which "
            f"n {n:g} votes prove nothing, even if all agree: take at least {least}."
        )
