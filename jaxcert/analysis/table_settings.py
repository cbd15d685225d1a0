"""Settings that tables of locuslab/smoothing do not state and that a command line gives: sigma,
alpha and n. With these a table has vote probabilities, and one with votes is re-checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcert import records
from jaxcert.analysis.facts import missing_settings
from jaxcert.analysis.metrics import certify_numbers
from jaxcert.analysis.recheck import Recheck, recheck
from jaxcert.certificate import Certificates
from jaxcert.certificates import statistics
from jaxcert.errors import InputError

Stated = float | Mapping[str, float] | None
"""A setting of tables: a number for all of them, or one for each by name."""

SETTINGS = {
    "sigma": "noise in pixels of [0, 1]",
    "alpha": "probability of a false certificate",
    "n": "samples per image",
}
OPTIONS = {
    f"--{key} X|NAME=X[,NAME=X]": (None, f"{what}, for tables, which do not say it")
    for key, what in SETTINGS.items()
}
"""Options of a command line for them, as `cli.Parser` takes them; `parse` reads their values."""


def parse(key: str, text: str | None) -> Stated:
    """Return the setting that `0.5`, or `a=0.25,b=0.5`, stands for. Raises InputError."""
    if text is None:
        return None
    stated: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.rpartition("=")
        if name.strip() in stated:
            raise InputError(
                f"--{key} has two numbers for {name.strip() or 'all tables'}: leave one."
            )
        try:
            if "_" in value:  # Python reads 1_0 as 10
                raise ValueError
            stated[name.strip()] = float(value)
        except ValueError:
            raise InputError(
                f"--{key} has {part.strip()!r}: give one number for all tables, or "
                "NAME=NUMBER for each, with commas between."
            ) from None
    if "" in stated and len(stated) > 1:
        raise InputError(
            f"--{key} has a number for all tables and others by name: give one or the other."
        )
    return stated.get("", stated)


def with_settings(
    c: Certificates, name: str, path: str | Path, given: dict[str, Stated]
) -> Certificates:
    """Return the record with the settings that are given for it, which only tables take.

    Raises InputError for a setting that a record states itself, or that contradicts it.
    """
    stated, smoothed = {}, c.header.get("method") == "smoothing"
    for key, value in given.items():
        named = isinstance(value, Mapping)
        value = value.get(name) if named else value
        if value is None:
            continue
        if named and (c.header.get("format") != "tsv" or key == "n" and c.n.any()):
            raise InputError(
                f"{path} states its own {key}: leave {name} out of --{key}."
            )
        if named and not smoothed:
            raise InputError(
                f"{path} is of the certificate {c.header['method']}, which draws no samples: "
                f"leave {name} out of --{key}."
            )
        _check(key, value)
        stated[key] = value
    if c.header.get("format") != "tsv" or not smoothed:
        return c
    header = c.header | {k: stated[k] for k in ("sigma", "alpha") if k in stated}
    if "n" in stated and not c.n.any():
        c = c._replace(n=np.full(len(c.index), int(stated["n"])))
    if "procedure" not in c.header and c.n.any():
        same = (c.n == c.n[0]).all()
        header["procedure"] = dict(
            name="certify" if same else "unknown procedure", n=int(c.n.max())
        )
    c = c._replace(header=header)
    if certify_numbers(c) is not None:
        sigma, alpha, n = header["sigma"], header["alpha"], int(c.n.max())
        largest = statistics.max_radius(n, alpha, sigma)
        if c.radius.max() > largest * 1.005:  # three digits, rounded to nearest
            raise InputError(
                f"{path} has the radius {c.radius.max():g}, and sigma {sigma:g}, alpha "
                f"{alpha:g} and n {n} reach {largest:.3g}: correct what --sigma, --alpha and "
                f"--n say of it{_fitting(c.radius.max(), n, sigma)}."
            )
    return c


def _fitting(radius: float, n: int, sigma: float) -> str:
    """Return in words the usual alpha with which n votes reach a printed radius; '' where none
    does."""
    for alpha in (0.001, 0.005, 0.01, 0.05, 0.1):
        largest = float(statistics.max_radius(n, alpha, sigma))
        if radius <= largest * 1.005:
            known = ", as in the tables that Cohen et al. released," * (alpha == 0.01)
            return f" (--alpha {alpha:g}{known} reaches {largest:.3g})"
    return ""


def _check(key: str, value: float) -> None:
    fits = {"sigma": True, "alpha": value < 1, "n": value % 1 == 0}[key]
    if not (0 < value < 1e18 and fits):
        raise InputError(
            f"--{key} {value:g} is no {SETTINGS[key]}: give such as "
            f"{dict(sigma='0.5', alpha='0.001', n='100000')[key]}."
        )


def recheck_with_settings(c: Certificates) -> Recheck:
    """Return the re-check of a record, and of a table with votes once its settings are known."""
    if c.header.get("format") != "tsv" or c.agreeing is None:
        return recheck(c)
    reason = ""
    if unknown := missing_settings(c.header):
        reason = f"the table has votes and does not say {' or '.join(unknown)}"
    elif c.header["norm"] != "l2":
        reason = "the table does not say which noise its votes are of"
    elif certify_numbers(c) is None:
        reason = "n differs between its images, which that of CERTIFY does not"
    if reason:
        return recheck(c)._replace(reason=reason)
    classes = np.arange(1 + max(c.label.max(), c.predicted.max()))
    counts = c.agreeing * (classes == c.predicted[:, None])
    header = c.header | {"format": records.FORMAT_1}
    return recheck(c._replace(counts=counts, header=header))
