"""Computes the radii of a record again with another rival (`runner_up.py`), from its votes."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxcert.certificate import ABSTAIN, Certificates
from jaxcert.certificates import norms, rechecking, runner_up, statistics
from jaxcert.errors import InputError


def again(c: Certificates, rival: str) -> Certificates:
    """Return a record of procedure `certify` as it would be with another `rival`, from its
    counts; its header says so in `bounded_again`.

    An image that abstained keeps abstaining where the record does not hold the votes of its
    selection, because its class is then not known. Each radius is false with probability at most
    alpha if the rival is not chosen by what came out.

    Raises InputError for a record of another procedure, one without votes or without those of the
    selection where the rival depends on them, and for what `runner_up.check` refuses.
    """
    asked = rechecking.procedure(c)
    if c.header.get("method") != "smoothing" or asked.get("name") != "certify":
        raise InputError(
            "only records of smoothing by procedure certify are bounded again: those of "
            f"{c.header.get('method')} by {asked.get('name')} lack votes for it."
        )
    base = c.header.get("base")
    if isinstance(base, dict) and base.get("may_fail") and rival != "single":
        raise InputError(
            f"the votes are of an oracle that may fail, and rival {rival} bounds those of other "
            "classes, for which answers that never came may have been: keep rival=single."
        )
    if c.counts is None:
        raise InputError("the record has no votes: certify again, with another --out.")
    runner_up.check(runner_up.Rival(rival), "certify")
    if c.selection is None and rival == "auto":
        raise InputError(
            "the record does not hold the votes of the selection, on which rival auto "
            "depends: give runner_up, or certify again."
        )
    header = _header(c, asked, rival)
    predicted = c.predicted
    if c.selection is not None:
        known = c.selection.argmax(1)
        predicted = np.where(predicted == ABSTAIN, known, predicted).astype(np.int32)
    votes = c.counts
    c = c._replace(predicted=predicted, header=header)
    rows = np.flatnonzero(predicted >= 0)
    chosen, holds = rechecking.chosen(c, rows)
    k, other = chosen.votes(votes[rows], c.n[rows])
    radius_of = rechecking.radius_of(c)
    n, both, level = c.n[rows], chosen.both, chosen.level
    radius = runner_up.radius(k, other, n, both, level, radius_of)
    says = holds & (radius > 0)
    proven, p_lower = np.zeros(len(predicted)), np.zeros(len(predicted))
    proven[rows] = np.where(says, radius, 0.0)
    drawn = statistics.clopper_pearson_lower(k, n, level)
    p_lower[rows] = norms.exact_p_lower(drawn, rechecking.law(c)["least_tail"])
    if c.p_lower is not None:
        p_lower = np.where(predicted < 0, c.p_lower, p_lower)
    answers = predicted.copy()
    answers[rows[~says]] = ABSTAIN
    return c._replace(predicted=answers, radius=proven, p_lower=p_lower)


def notes(c: Certificates, rows: np.ndarray) -> list[str]:
    """Return what a report says of a record that was bounded again, [] of any other."""
    if "bounded_again" not in c.header:
        return []
    return [
        "radii were bounded again from the votes of a finished record, with another rival: each is "
        "wrong with probability at most alpha if that was not chosen by what came out"
    ]


def _header(c: Certificates, asked: dict[str, Any], rival: str) -> dict[str, Any]:
    """Return the header with another rival, in its config as well."""
    procedure = {k: v for k, v in asked.items() if k != "rival"}
    if rival != "single":
        procedure["rival"] = rival
    header = c.header | {"procedure": procedure}
    header["bounded_again"] = {"rival": asked.get("rival", "single")}
    config = header.get("config")
    if isinstance(config, dict) and isinstance(config.get("certify"), dict):
        certify = config["certify"] | {"rival": rival}
        header["config"] = config | {"certify": certify}
    return header
