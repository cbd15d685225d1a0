"""Reads what a re-check needs of a record: numbers of its header, and columns of evidence.

A certificate's module has `recheck(c, rows) -> (proven, holds)` beside the code that made
the numbers: rows are positions of predictions, proven float64 [R] the radius that the
evidence of each row proves, holds bool [R] whether its radius is at most that and the row
agrees with itself. It reads the header and the evidence alone, and of the code that
certified it calls only the formulas of `statistics`, `norms` and `sequential`.
analysis/recheck.py finds it by the header's method and calls it on some thousand rows at a
time."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.certificates import norms, statistics
from jaxcert.errors import InputError

ROUNDING = 1e-13
"""The tolerance of a radius, in units of sigma. Another version of scipy may differ by
a few ulp; `statistics` rounds down by ten times more."""


class Unknown(Exception):
    """Raised where no re-check is known for the procedure that the header names."""


class Missing(Exception):
    """Raised where the record lacks evidence that every certifier of its procedure writes."""


def procedure(c: Certificates) -> dict[str, Any]:
    """Return the header's procedure; an empty one where the header has none that can be
    read."""
    found = c.header.get("procedure")
    return found if isinstance(found, dict) else {}


def name_of(c: Certificates, known: tuple[str, ...]) -> str:
    """Return the name of the procedure. Raises Unknown for one that is not among `known`, and
    Missing where the header names none."""
    name = procedure(c).get("name")
    if not isinstance(name, str):
        raise Missing(f"its header has the procedure {name!r}")
    if name not in known:
        raise Unknown(f"no re-check is known for the procedure {name!r}")
    return name


def contradiction(fault: str) -> InputError:
    """Return the error for a header that contradicts itself."""
    return InputError(
        f"the record's header contradicts itself: {fault}; restore the file, or certify "
        "again into another one with --out."
    )


def need(c: Certificates, *columns: str) -> None:
    """Raises Missing if the rows lack one of these columns."""
    for name in columns:
        column(c, name)


def column(c: Certificates, name: str) -> np.ndarray:
    """Return a column of evidence. Raises Missing if the rows have none of that name."""
    found = getattr(c, name)
    if found is None:
        raise Missing(f"its rows have no {name}")
    return found


def number(c: Certificates, name: str, where: dict[str, Any]) -> float:
    """Return a number of the header, or of a part of it. Raises InputError for anything else,
    for one below 0 and for one that is not finite."""
    value = where.get(name)
    if (type(value) is int or type(value) is float) and 0 <= value < np.inf:
        return value
    raise InputError(
        f"the record's header has {name} {value!r}: certify into another file with --out."
    )


def alpha_of(c: Certificates) -> float:
    """Return the header's alpha. Raises InputError where it is not between 0 and 1: a
    certificate by samples cannot be certain."""
    value = number(c, "alpha", c.header)
    if not 0 < value < 1:
        raise contradiction(f"alpha {value:g} where radii are proven by samples")
    return value


def has_all_samples(c: Certificates, rows: np.ndarray) -> np.ndarray:
    """Return bool [R]: whether each row has the n samples of the procedure. A procedure without
    looks must not stop early, which its alpha does not allow for."""
    return c.n[rows] == number(c, "n", procedure(c))


def image_shape(c: Certificates) -> tuple[int, ...]:
    """Return the shape of the model's images that the header or its config has, else ()."""
    config = c.header.get("config")
    for place in (c.header, config if isinstance(config, dict) else {}):
        model = place.get("model")
        shape = model.get("image_shape") if isinstance(model, dict) else None
        whole = isinstance(shape, list | tuple)
        if whole and all(type(x) is int and x > 0 for x in shape):
            return tuple(shape)
    return ()


def radii(c: Certificates) -> np.ndarray:
    """Return the radii that the procedure tried, float64 and rising. Raises InputError."""
    given = procedure(c).get("radii", ())
    given = given.tolist() if isinstance(given, np.ndarray) else given
    numbers = isinstance(given, list | tuple) and all(
        type(r) in (int, float) and 0 <= r <= sys.float_info.max for r in given
    )
    if not numbers:
        raise InputError(
            "the record's procedure.radii are not numbers: certify into another file with "
            "--out."
        )
    return np.sort(np.asarray(given, np.float64))


def law(c: Certificates) -> dict[str, Any]:
    """Return noise, norm, sigma, size of the images and least tail, as `norms` takes
    them. Raises InputError for a pair of noise and norm without a radius, and for
    impossible numbers."""
    noise = procedure(c).get("noise", "gaussian")
    norm = c.header.get("norm", "l2")
    norms.check(noise, norm)
    d = int(number(c, "d", procedure(c))) if norm == "linf" else 1
    shape = image_shape(c)
    if d < 1 or (norm == "linf" and shape and d != math.prod(shape)):
        raise InputError(
            f"the record's header has d {d} for images of {list(shape)}: certify into another "
            "file with --out."
        )
    stated = procedure(c).get("least_tail") is not None
    least = number(c, "least_tail", procedure(c)) if stated else 0.0
    alpha, n = alpha_of(c), number(c, "n", procedure(c))
    least = norms.least_tail_of(noise, n, alpha, least)
    sigma = number(c, "sigma", c.header)
    return dict(noise=noise, norm=norm, sigma=sigma, d=d, least_tail=least)


def radius_of(c: Certificates) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from upper bounds of 1 - p to radii, by the header's law."""
    return partial(norms.radius, **law(c))


def rounding(c: Certificates) -> float:
    """Return how far another version of scipy may put a radius, in pixels."""
    return ROUNDING * number(c, "sigma", c.header)


def bounded(c: Certificates, rows: np.ndarray, n: np.ndarray):
    """Return (proven, holds) by the votes for the predicted class, as if n were fixed."""
    alpha, counts = alpha_of(c), column(c, "counts")
    k = counts[rows, c.predicted[rows]]
    proven = radius_of(c)(statistics.upper_tail(k, np.maximum(n, k), alpha))
    holds = (proven > 0) & (c.radius[rows] <= proven + rounding(c)) & (k <= n)
    if c.p_lower is not None:
        p_lower = statistics.clopper_pearson_lower(k, np.maximum(n, k), alpha)
        holds &= c.p_lower[rows] <= p_lower + ROUNDING
    return proven, holds


def looks(c: Certificates) -> tuple[int, ...]:
    """Return the numbers of votes at which the procedure looked. Raises InputError."""
    found, n = procedure(c).get("looks"), number(c, "n", procedure(c))
    whole = isinstance(found, list | tuple) and all(type(x) is int for x in found)
    if (
        not whole
        or not found
        or found[0] < 1
        or (np.diff(found) <= 0).any()
        or found[-1] != n
    ):
        raise InputError(
            f"the record's procedure.looks are {found}, not rising numbers of votes up to "
            f"{n}: certify into another file with --out."
        )
    return tuple(found)


def votes_at(c: Certificates, rows: np.ndarray, count: int) -> np.ndarray:
    """Return the votes int64 [R, count] for the predicted class at each look. Raises InputError
    if the rows have another number of looks."""
    agreeing = column(c, "agreeing")
    if agreeing.shape[1] != count:
        raise InputError(
            f"the record's rows have votes at {agreeing.shape[1]} looks where its "
            f"procedure has {count}: certify into another file with --out."
        )
    return agreeing[rows]


def path(c: Certificates, rows: np.ndarray, looks: tuple[int, ...]):
    """Return (agreeing [R,J], holds bool [R]): the votes at the looks, at most the
    numbers of votes there, and whether they can be votes at these looks that end at the
    row's n with its votes for the predicted class."""
    agreeing = votes_at(c, rows, len(looks))
    taken = agreeing >= 0
    last = np.maximum(taken.sum(1) - 1, 0)
    fits = taken[:, 0] & (np.diff(taken.astype(int), axis=1) <= 0).all(1)
    steps = np.diff(np.maximum(agreeing, 0), axis=1, prepend=0)
    size = np.diff(looks, prepend=0)
    fits &= (~taken | ((steps >= 0) & (steps <= size))).all(1)
    fits &= c.n[rows] == np.asarray(looks)[last]
    at_last = agreeing[np.arange(len(rows)), last]
    fits &= at_last == column(c, "counts")[rows, c.predicted[rows]]
    return np.minimum(agreeing, looks), fits
