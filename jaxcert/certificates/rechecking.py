"""Reads what a re-check needs of a record: numbers of its header, and columns of evidence.

A certificate's module has `recheck(c, rows) -> (proven, holds)` beside the code that made
the numbers: rows are positions of predictions, proven float64 [R] the radius that the
evidence of each row proves, holds bool [R] whether its radius is at most that and the row
agrees with itself. It reads the header and the evidence alone, and of the code that
certified it calls only the formulas of `statistics`, `norms`, `sequential` and `runner_up`.
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
from jaxcert.certificates import norms, runner_up, statistics
from jaxcert.errors import InputError
from jaxcert.records import FORMAT

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


def whole(c: Certificates, name: str, where: dict[str, Any], least: int = 0) -> int:
    """Return a whole number of the header. Raises InputError for anything else, of 1000.0 as
    well, and for one below `least`."""
    value = where.get(name)
    if type(value) is int and value >= least:
        return value
    raise InputError(
        f"the record's header has {name} {value!r}, which is no whole number from {least} up: "
        "certify into another file with --out."
    )


def stated(c: Certificates, name: str, where: dict[str, Any]) -> Any:
    """Return what a part of the header says, None where a record of an older format does not.
    Raises InputError where one of this format does not."""
    found = where.get(name)
    if found is None and c.header.get("format") == FORMAT:
        raise contradiction(f"no {name}, which every record of {FORMAT} has")
    return found


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
    return c.n[rows] == whole(c, "n", procedure(c))


def network(c: Certificates) -> dict[str, Any]:
    """Return what the header says of the network itself, {} where one of an older format does
    not. Raises InputError unless its norm is that of the radii."""
    found = stated(c, "network", c.header)
    if found is None:
        return {}
    norm = c.header.get("norm")
    if not isinstance(found, dict) or found.get("norm") != norm or not image_shape(c):
        raise contradiction(f"radii in norm {norm} of the network {found!r}")
    return found


def image_shape(c: Certificates) -> tuple[int, ...]:
    """Return the shape of the network's images that the header or its config has, else ()."""
    config = c.header.get("config")
    config = config if isinstance(config, dict) else {}
    for model in (c.header.get("network"), c.header.get("model"), config.get("model")):
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
    d = whole(c, "d", procedure(c)) if norm == "linf" else 1
    shape = image_shape(c)
    if d < 1 or (norm == "linf" and shape and d != math.prod(shape)):
        raise InputError(
            f"the record's header has d {d} for images of {list(shape)}: certify into another "
            "file with --out."
        )
    known = stated(c, "least_tail", procedure(c)) is not None
    least = number(c, "least_tail", procedure(c)) if known else 0.0
    alpha, n = alpha_of(c), whole(c, "n", procedure(c))
    least = norms.least_tail_of(noise, n, alpha, least)
    sigma = number(c, "sigma", c.header)
    scale = stated(c, "scale", procedure(c))
    if scale is not None and scale != norms.scale(noise, sigma):
        raise contradiction(
            f"scale {scale!r} where {noise} noise of sigma {sigma} has "
            f"{norms.scale(noise, sigma)}"
        )
    return dict(noise=noise, norm=norm, sigma=sigma, d=d, least_tail=least)


def radius_of(c: Certificates) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from upper bounds of 1 - p to radii, by the header's law."""
    return partial(norms.radius, **law(c))


def rounding(c: Certificates) -> float:
    """Return how far another version of scipy may put a radius, in pixels."""
    return ROUNDING * number(c, "sigma", c.header)


def rival(c: Certificates) -> runner_up.Rival:
    """Return how the header says that the other classes are bounded; `single` where it does not.
    Raises InputError for what no procedure takes."""
    asked = procedure(c)
    found = runner_up.Rival(asked.get("rival", "single"), asked.get("noise") == "grid")
    try:
        runner_up.check(found, str(asked.get("name")))
    except InputError as error:
        raise contradiction(str(error).rstrip(".")) from None
    return found


def selection_fits(c: Certificates, rows: np.ndarray) -> np.ndarray:
    """Return bool [R]: whether the votes of the selection, which a record of an older format
    need not have, are votes of n0 samples with most for the predicted class.

    Raises Missing where a record of this format has none, InputError for those of no n0."""
    if c.selection is None and c.header.get("format") != FORMAT:
        return np.ones(len(rows), bool)
    selection, n0 = column(c, "selection")[rows], whole(c, "n0", procedure(c), 1)
    if selection.shape[1] != column(c, "counts").shape[1]:
        raise contradiction("votes of the selection that are not of its classes")
    fits = (selection.sum(1) <= n0) & (selection.argmax(1) == c.predicted[rows])
    return fits & (selection >= 0).all(1) & (selection.sum(1) > 0)


def chosen(c: Certificates, rows: np.ndarray) -> tuple[runner_up.Chosen, np.ndarray]:
    """Return (what the selection chose, holds bool [R]): whether its votes fit, see
    `selection_fits`.

    Missing is raised where the choice depends on votes that the record lacks.
    """
    found, alpha = rival(c), alpha_of(c)
    counts, predicted = column(c, "counts")[rows], c.predicted[rows]
    fits = selection_fits(c, rows)
    if found.name == "single" or runner_up.bounds(found, counts.shape[1]) == 1:
        alone = runner_up.single(counts, alpha)._replace(selected=predicted)
        return alone, fits
    if found.name == "auto":
        selection, n0 = column(c, "selection")[rows], whole(c, "n0", procedure(c), 1)
    else:  # every selection chooses the same
        selection, n0 = np.zeros_like(counts), 1
    made = runner_up.choose(
        found,
        np.where(fits[:, None], selection, 0),
        n0=n0,
        n=whole(c, "n", procedure(c)),
        alpha=alpha,
        radius_of=radius_of(c),
    )
    return made._replace(selected=predicted), fits


def bounded(c: Certificates, rows: np.ndarray, n: np.ndarray, chosen: runner_up.Chosen):
    """Return (proven, holds) by the counted votes, as if n were fixed."""
    counts = column(c, "counts")[rows]
    (k, other), total = chosen.votes(counts, n), counts.sum(1)
    used = np.maximum(n, np.maximum(k + other, 1))
    both, level = chosen.both, chosen.level
    proven = runner_up.radius(k, other, used, both, level, radius_of(c))
    holds = (proven > 0) & (c.radius[rows] <= proven + rounding(c)) & (total <= n)
    if c.p_lower is not None:
        p_lower = statistics.clopper_pearson_lower(k, used, level)
        holds &= c.p_lower[rows] <= p_lower + ROUNDING
    return proven, holds


def rivals(
    c: Certificates, rows: np.ndarray, chosen: runner_up.Chosen, count: int
) -> np.ndarray:
    """Return the votes int64 [R, count] of the largest other class at each look, 0
    where no row needs them. Raises InputError and Missing as `votes_at`."""
    if not chosen.both.any():
        return np.zeros((len(rows), count), np.int64)
    return _at_looks(c, rows, count, "rivals")


def rival_path(
    c: Certificates, rows: np.ndarray, looks: tuple[int, ...], chosen: runner_up.Chosen
):
    """Return (votes [R,J], holds bool [R]): the votes of `rivals`, at most the samples, and
    whether they can stand beside those for the predicted class and end at the row's counts."""
    found = rivals(c, rows, chosen, len(looks))
    agreeing = votes_at(c, rows, len(looks))
    taken = agreeing >= 0
    fits = ((found >= 0) == taken).all(1)
    # the largest of sums that do not fall, of votes that the class did not get
    steps, mine = (np.diff(np.maximum(x, 0), prepend=0) for x in (found, agreeing))
    size = np.diff(looks, prepend=0)
    fits &= (~taken | ((steps >= 0) & (steps + mine <= size))).all(1)
    fits &= (~taken | (found + agreeing <= np.asarray(looks))).all(1)
    counts, each = column(c, "counts")[rows], np.arange(len(rows))
    counted = chosen.votes(counts, c.n[rows])[1]
    fits &= found[each, np.maximum(taken.sum(1) - 1, 0)] == counted
    # votes that the class did not get are for none, or for others that have at most `found`
    others, none = counts.copy(), c.n[rows] - counts.sum(1)
    others[each, c.predicted[rows]] = 0
    for j, look in enumerate(looks):
        room = none + np.minimum(others, found[:, j, None]).sum(1)
        fits &= ~taken[:, j] | (look - agreeing[:, j] <= room)
    return np.minimum(found, looks), fits


def looks(c: Certificates) -> tuple[int, ...]:
    """Return the numbers of votes at which the procedure looked. Raises InputError."""
    found, n = procedure(c).get("looks"), whole(c, "n", procedure(c))
    numbers = isinstance(found, list | tuple) and all(type(x) is int for x in found)
    if (
        not numbers
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
    return _at_looks(c, rows, count, "agreeing")


def _at_looks(c: Certificates, rows: np.ndarray, count: int, name: str) -> np.ndarray:
    votes = column(c, name)
    if votes.shape[1] != count:
        raise InputError(
            f"the record's rows have votes at {votes.shape[1]} looks where its "
            f"procedure has {count}: certify into another file with --out."
        )
    return votes[rows]


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
