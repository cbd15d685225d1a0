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

R_i(a) of each procedure: `certify` and `two_stage` have a bound of a number of votes that was
fixed before these were drawn (by the pilot), and `sequence` bounds that hold at all looks
together, at any level, whenever it stopped. The bounds of other classes keep their shares of the
level, and what the votes of the selection choose stays chosen. `predict` claims a class, the
radius 0. `radii` stops each image at the boundary of its own alpha, so its votes say little at
another level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxcert.certificate import ABSTAIN, Certificates
from jaxcert.certificates import looking, procedures, rechecking, runner_up, statistics
from jaxcert.errors import InputError, one_of, within

NAMES = ("bonferroni", "holm")
RadiiAt = Callable[[float], np.ndarray]
"""Level -> the radius float64 [M] that each image's evidence proves at it, rising with the level;
-1 where not even a class is proven."""


class Family(NamedTuple):
    """What all is claimed of together."""

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
    if name not in _EVIDENCE:
        each = rechecking.alpha_of(c) / len(c.index)
        raise InputError(
            f"--familywise cannot be computed for procedure {name}, which stops each image at the "
            f"level of its own alpha: certify with --config.certify.alpha={each:.3g}, which is "
            "Bonferroni, or by certify, two_stage or sequence."
        )
    own = rechecking.alpha_of(c)
    alpha = own if family.alpha is None else family.alpha
    within("(0, 0.3]", **{"--familywise": alpha})
    rows = np.flatnonzero(c.predicted >= 0)
    evidence = _EVIDENCE[name](c, rows)
    count = len(c.index)
    radii, level = step_down(
        lambda level: evidence(level / own)[0], count, alpha, family.name, largest
    )
    proven, p_lower = np.zeros(count), np.full(count, np.inf)
    proven[rows] = np.maximum(radii, 0.0)
    p_lower[rows] = evidence(level / own)[1]
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


def _fixed(n_of: Callable[[Certificates, np.ndarray], np.ndarray]):
    """Of procedures with a number of votes that these do not change."""

    def evidence(c: Certificates, rows: np.ndarray):
        n = n_of(c, rows)
        chosen, fits = rechecking.chosen(c, rows)
        counts = rechecking.column(c, "counts")[rows]
        fits &= (n > 0) & (counts.sum(1) <= n)
        k, rival = chosen.votes(counts, n)
        used, radius_of = (
            np.maximum(n, np.maximum(k + rival, 1)),
            rechecking.radius_of(c),
        )

        def at(share: float):
            level = chosen.level * share
            radius = runner_up.radius(k, rival, used, chosen.both, level, radius_of)
            p_lower = statistics.clopper_pearson_lower(k, used, level)
            return np.where(fits & (radius > 0), radius, -1.0), p_lower

        return at

    return evidence


def _sequence(c: Certificates, rows: np.ndarray):
    looks, bound = rechecking.looks(c), str(rechecking.procedure(c).get("bound"))
    one_of(("union", "mixture"), bound=bound)
    agreeing, fits = rechecking.path(c, rows, looks)
    chosen, holds = rechecking.chosen(c, rows)
    both, radius_of = chosen.both, rechecking.radius_of(c)
    fits &= holds
    if both.any():
        others, grow = rechecking.rival_path(c, rows, looks, chosen)
        fits &= ~both | grow

    def at(share: float):
        level, p_upper = chosen.level * share, np.ones(len(rows))
        p_lower = looking.sequence_lower(agreeing, looks, level, bound)
        if both.any():
            p_upper = looking.sequence_upper(others, looks, level, bound)
        radius = runner_up.of_bounds(1 - p_lower, p_upper, both, radius_of)
        return np.where(fits & (radius > 0), radius, -1.0), p_lower

    return at


def _predict(c: Certificates, rows: np.ndarray):
    counts = rechecking.column(c, "counts")[rows]
    second, first = np.sort(counts, 1)[:, -2:].T
    fits = counts[np.arange(len(rows)), c.predicted[rows]] == first
    fits &= rechecking.has_all_samples(c, rows)
    p = statistics.predict_pvalue(first, second)

    def at(share: float):
        says = fits & (p <= rechecking.alpha_of(c) * share)
        return np.where(says, 0.0, -1.0), np.zeros(len(rows))

    return at


_EVIDENCE = {
    # a number of votes that was asked for, whatever the row says that it has
    "certify": _fixed(
        lambda c, rows: np.where(rechecking.has_all_samples(c, rows), c.n[rows], 0)
    ),
    "two_stage": _fixed(lambda c, rows: c.n[rows] - procedures.PILOT),
    "sequence": _sequence,
    "predict": _predict,
}
"""Procedure -> (record, rows) -> function of the share of the record's alpha that gives the radii
and the bounds p_lower of these rows."""
