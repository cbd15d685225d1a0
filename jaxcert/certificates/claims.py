"""Computes what the votes of a record prove at any level, not only at its own alpha.

`certify` and `two_stage` have a bound of a number of votes that was fixed before these were drawn
(by the pilot), and `sequence` bounds that hold at all looks together, whenever it stopped: each of
them holds at any level. The bounds of other classes keep their shares of the level, and what the
votes of the selection choose stays chosen. `predict` claims a class, the radius 0. `radii` stops
each image at the boundary of its own alpha, so its votes say little at another level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.certificates import looking, procedures, rechecking, runner_up, statistics
from jaxcert.errors import InputError, one_of


class Claims(NamedTuple):
    """The radii and the bounds of probabilities that are proven for R images."""

    radius: np.ndarray
    """float64 [R]; -1 where not even a class is proven"""
    p_lower: np.ndarray
    """float64 [R], of the class; 0 where the procedure has no such bound"""
    p_upper: np.ndarray
    """float64 [R], of every other class; 1 where these are not bounded"""


ClaimsAt = Callable[[float], Claims]
"""The function from a level, as a share of the record's alpha, to what is proven at it; radii
rise with it."""


def of(c: Certificates, rows: np.ndarray) -> ClaimsAt:
    """Return what the evidence of rows with a class proves. Raises InputError for a procedure
    that is not among PROCEDURES, a record without the evidence of its own, and a header that
    contradicts itself."""
    name = str(rechecking.procedure(c).get("name"))
    one_of(PROCEDURES, procedure=name)
    try:
        return PROCEDURES[name](c, rows)
    except rechecking.Missing as what:
        raise InputError(
            f"the record lacks evidence that procedure {name} writes: {what}; certify into another "
            "file with --out."
        ) from None


def _fixed(n_of: Callable[[Certificates, np.ndarray], np.ndarray]):
    """Return the function of PROCEDURES for one whose number of votes, n_of(record, rows), is
    fixed before they are drawn."""

    def evidence(c: Certificates, rows: np.ndarray):
        n = n_of(c, rows)
        chosen, fits = rechecking.chosen(c, rows)
        counts = rechecking.column(c, "counts")[rows]
        fits &= (n > 0) & (counts.sum(1) <= n)
        k, rival = chosen.votes(counts, n)
        used = np.maximum(n, np.maximum(k + rival, 1))
        radius_of = rechecking.radius_of(c)

        def at(share: float):
            level = chosen.level * share
            radius = runner_up.radius(k, rival, used, chosen.both, level, radius_of)
            p_upper = np.ones(len(rows))
            if chosen.both.any():
                above = runner_up.upper(rival, used, level)
                p_upper = np.where(chosen.both, above, p_upper)
            p_lower = statistics.clopper_pearson_lower(k, used, level)
            return Claims(np.where(fits & (radius > 0), radius, -1.0), p_lower, p_upper)

        return at

    return evidence


def _sequence(c: Certificates, rows: np.ndarray) -> ClaimsAt:
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
            above = looking.sequence_upper(others, looks, level, bound)
            p_upper = np.where(both, above, p_upper)
        radius = runner_up.of_bounds(1 - p_lower, p_upper, both, radius_of)
        return Claims(np.where(fits & (radius > 0), radius, -1.0), p_lower, p_upper)

    return at


def _predict(c: Certificates, rows: np.ndarray) -> ClaimsAt:
    p, fits = procedures.tested(c, rows)

    def at(share: float):
        says = fits & (p <= rechecking.alpha_of(c) * share)
        radius = np.where(says, 0.0, -1.0)
        return Claims(radius, np.zeros(len(rows)), np.ones(len(rows)))

    return at


PROCEDURES: dict[str, Callable[[Certificates, np.ndarray], ClaimsAt]] = {
    # a number of votes that was asked for, whatever the row says that it has
    "certify": _fixed(
        lambda c, rows: np.where(rechecking.has_all_samples(c, rows), c.n[rows], 0)
    ),
    "two_stage": _fixed(lambda c, rows: c.n[rows] - procedures.PILOT),
    "sequence": _sequence,
    "predict": _predict,
}
"""Procedure -> the function from (record, rows) to their claims at a level."""
