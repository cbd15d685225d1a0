"""Computes what n votes can prove at best, and refuses settings with which they prove nothing."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from jaxcert.certificates import (
    looking,
    norms,
    pilots,
    procedures,
    runner_up,
    sequential,
    statistics,
)
from jaxcert.certificates import noise as noises
from jaxcert.errors import InputError, one_of, within


def planned(
    name: str,
    rival: runner_up.Rival,
    *,
    num_classes: int,
    n0: int,
    n: int,
    alpha: float,
    radii: Sequence[float],
    rho: float,
    bound: str,
    radius_of: pilots.RadiusOf,
    law: dict[str, Any],
) -> tuple[Callable[..., procedures.Decided], dict[str, Any], float]:
    """Return (run, details of the header, largest radius) of a procedure, whose run
    takes a `procedures.Draw` and the number of images. radius_of: `norms.radius` by the law; the
    other arguments are those of `smoothing.certifier`.

    Raises InputError for what proves nothing, whatever the votes, and warns where the noise ends
    before the votes do.
    """
    runner_up.check(rival, name)
    if name == "predict":
        if statistics.predict_pvalue(n, 0) > alpha:
            raise InputError(
                f"n {n} samples always abstain at alpha {alpha}: take more than "
                f"{statistics.min_n_for_any_radius(alpha)}."
            )
        asked = dict(n=n, alpha=alpha, undrawn=rival.undrawn)
        return partial(procedures.predict, **asked), dict(n=n), 0.0
    looks = sequential.looks(n)
    values: tuple[float, ...] = ()
    details: dict[str, Any] = dict(n0=n0, n=n)
    options: dict[str, Any] = dict(n0=n0, alpha=alpha)
    if rival.name != "single":
        options |= dict(rival=rival)
        details |= dict(rival=rival.name)
    split = runner_up.bounds(rival, num_classes)
    each = alpha / split
    if name == "certify":
        options |= dict(n=n, radius_of=radius_of)
    elif name == "two_stage":
        options |= dict(n=n, rho=rho, radius_of=radius_of)
        details |= dict(rho=rho, pilot=pilots.PILOT)
        details |= dict(sizes=pilots.sizes(n).tolist())
        if split == 1:
            rule = pilots.rule(n=n, rho=rho, alpha=alpha, radius_of=radius_of)
            details |= dict(rule=rule)
    elif name == "sequence":
        options |= dict(looks=looks, rho=rho, bound=bound, radius_of=radius_of)
        details |= dict(looks=list(looks), rho=rho, bound=bound)
        details |= dict(mixture=list(sequential.MIXTURE)) if bound == "mixture" else {}
    else:
        values = _rising(radii)
        reach = farthest(**law)
        if values[0] > reach:
            raise InputError(
                f"{law['noise']} noise of float32 certifies no radius above {reach:.4g}, and "
                "all of certify.radii are: give smaller ones, or certify.noise=grid, which "
                "has no such end."
            )
        p0 = tuple(float(p) for p in norms.p_needed(values, **law))
        bounds = procedures.boundaries(p0, looks, alpha)
        possible = np.flatnonzero((bounds <= looks).any(1))
        options |= dict(p0=p0, values=values, looks=looks)
        if len(possible):  # n proves none above, whatever the votes
            values = values[: possible[-1] + 1]
            options |= dict(p0=p0[: len(values)], values=values)
        details |= dict(radii=list(values), looks=list(looks))
        details |= dict(spending=sequential.spending(looks, alpha))
    # `auto` may take `single`, but is refused where it could take nothing else
    level = alpha if rival.name == "auto" else each
    tail = tail_if_all_agree(name, n, level, bound)
    least = float(radius_of(tail_if_all_agree(name, n, each, bound)))
    largest, ends = float(radius_of(tail)), law.get("least_tail", 0.0)
    if tail < ends and (name != "radii" or max(radii) > largest):
        warnings.warn(
            f"{law['noise']} noise of float32 shows no 1 - p below {ends:g}, so radii end at "
            f"{largest:.4g} though {n} samples could prove more: certify.noise=grid has no "
            "such end.",
            stacklevel=4,
        )
    if name == "radii":
        largest = max(values) if len(possible) else 0.0
    if min(least, largest) == 0 and not (name == "radii" and len(possible)):
        raise InputError(too_few(name, n, alpha, bound, radius_of, values, split))
    return partial(getattr(procedures, name), **options), details, largest


def farthest(*, noise: str, **law) -> float:
    """Return the largest radius that the noise can show with any n; inf where it is
    exact. The arguments are those of norms.radius."""
    law |= dict(least_tail=noises.least_tail(noise))
    return float(norms.radius(0.0, noise=noise, **law))


def _rising(radii) -> tuple[float, ...]:
    values = tuple(sorted({float(r) for r in radii}))
    if not values or not (values[0] >= 0 and values[-1] < math.inf):
        raise InputError(
            f"procedure 'radii' tries the radii it is given, and these are {list(radii)}: "
            "give numbers from 0 up in certify.radii."
        )
    return values


def tail_if_all_agree(name: str, n: int, alpha: float, bound: str) -> float:
    """Return the 1 - p that n votes prove if all are for one class."""
    if name == "sequence":
        looks = sequential.looks(n)
        lower = looking.sequence_lower(np.array([looks]), looks, alpha, bound)
        return 1 - float(lower[0])
    return float(statistics.upper_tail(n, n, alpha))


def too_few(
    name: str,
    n: int,
    alpha: float,
    bound: str,
    radius_of: pilots.RadiusOf,
    radii,
    split: int = 1,
) -> str:
    """Return the error for n votes that certify nothing, even if all agree. radii:
    those that procedure 'radii' tries, rising; split: over how many bounds of an image alpha is
    divided."""
    each = alpha / split
    reach = float(radius_of(tail_if_all_agree(name, 100_000, each, bound)))
    enough = statistics.min_n_for_any_radius(each)
    if name == "radii":
        smaller = ", or smaller radii" if n >= enough and radii[0] > 0 else ""
        return (
            f"n {n} samples certify none of the radii at alpha {alpha}, even if all agree: "
            f"take more{smaller} (100000 reach nearly {reach:.3g})."
        )
    while not radius_of(tail_if_all_agree(name, enough, each, bound)) > 0:
        enough += 1  # a sequence needs more, because its bound is wider
    among = f", split over {split} bounds" * (split > 1)
    return (
        f"n {n} samples certify no radius at alpha {alpha}{among}, even if all agree: take "
        f"more, at least {enough} (100000 reach {reach:.3g})."
    )


def check_bound(bound: str) -> None:
    """Raises InputError for an unknown bound."""
    if bound in runner_up.NAMES:
        raise InputError(
            f"certify.bound {bound!r} is no bound of a sequence: votes of the other classes count "
            f"with certify.rival={bound}."
        )
    one_of(("union", "mixture"), bound=bound)


def check_rho(rho: float) -> None:
    within("(0, 1)", rho=rho)
