"""Chooses how many votes count in `procedures.two_stage`, from the votes of its pilot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.certificates import rechecking, runner_up

PILOT = 1000
"""The number of votes in the first stage."""
_CLOSE = 1e-9
"""Relative difference of a radius up to which rounding may decide between two sizes."""
RadiusOf = Callable[..., np.ndarray]
"""The function from upper bounds of 1 - p to radii; given an upper bound of the probability of
every other class as well, that of two points."""


def second_stage(
    k: np.ndarray,
    rival: np.ndarray,
    both: np.ndarray,
    level: np.ndarray,
    *,
    n: int,
    rho: float,
    radius_of: RadiusOf,
) -> np.ndarray:
    """Return int64 [B], how many votes should prove 1 - rho of the radius that n votes
    would, if the shares stay those of the pilot's k and rival [B] votes; 0 where not even n
    would prove one. both, level: those of `runner_up.radius`."""
    tried = sizes(n)
    expected, others = (votes[:, None] * tried // PILOT for votes in (k, rival))
    both, level = both[:, None], level[:, None]
    radius = runner_up.radius(expected, others, tried, both, level, radius_of)
    enough = radius >= (1 - rho) * radius[:, -1:]
    return np.where(radius[:, -1] > 0, tried[enough.argmax(1)], 0)


def sizes(n: int) -> np.ndarray:
    """Return the numbers of votes int64 [J], rising, that a second stage may have."""
    return np.unique(np.geomspace(min(100, n), n, 80).astype(np.int64))


def rule(*, n: int, rho: float, alpha: float, radius_of: RadiusOf) -> list[list[int]]:
    """Return [[k, N], ...]: from k votes of the pilot on `second_stage` asks for N, up to the
    k of the next pair, where the class alone is bounded."""
    k = np.arange(PILOT + 1)
    size = second_stage(
        *(k, np.zeros_like(k), np.zeros(len(k), bool), np.full(len(k), alpha)),
        n=n,
        rho=rho,
        radius_of=radius_of,
    )
    starts = np.flatnonzero(np.diff(size, prepend=-1))
    return [[int(k[i]), int(size[i])] for i in starts]


def rule_of(
    c: Certificates, *, n: int, rho: float, alpha: float, radius_of: RadiusOf
) -> np.ndarray | None:
    """Return N int64 [PILOT + 1] for the votes of the pilot, as the header's `rule` has them;
    None where it has none. Raises InputError where the rule, or the sizes, are not those of the
    procedure."""
    asked = rechecking.procedure(c)
    known = rechecking.stated(c, "sizes", asked)
    if known is not None and known != sizes(n).tolist():
        raise rechecking.contradiction(f"sizes that are not those of n {n}")
    classes = rechecking.column(c, "counts").shape[1]
    if runner_up.bounds(rechecking.rival(c), classes) > 1:
        return None
    steps = rechecking.stated(c, "rule", asked)
    if steps is None:
        return None
    found = _table(steps)
    given: dict[str, Any] = dict(n=n, alpha=alpha, radius_of=radius_of)
    low, high = (_table(rule(rho=rho * f, **given)) for f in (1 + _CLOSE, 1 - _CLOSE))
    if found is None or not ((low <= found) & (found <= high)).all():
        raise rechecking.contradiction(
            "a rule that does not give the votes that the pilot's ask for"
        )
    return found


def _table(steps) -> np.ndarray | None:
    """Return the numbers int64 [PILOT + 1] of [[k, N], ...], None where these are none."""
    pairs = isinstance(steps, list) and all(
        isinstance(s, list) and len(s) == 2 and all(type(x) is int for x in s)
        for s in steps
    )
    k = [s[0] for s in steps] if pairs else []
    rising = k == sorted(set(k)) and k[:1] == [0] and k[-1] <= PILOT
    if not rising or not all(0 <= s[1] < 2**31 for s in steps):
        return None
    return np.repeat([s[1] for s in steps], np.diff([*k, PILOT + 1]))
