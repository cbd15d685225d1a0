"""Formats what a report says of one record: numbers as text, and sentences.

Shares are printed in percent with one binomial standard error, so that nobody reads a
difference into noise: with 500 images one standard error is up to 2.2 points. Where that
would be printed as 0.0, as that of 0 and 100 % always is, the 95 % interval stands instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxcert.analysis.compare import Difference
from jaxcert.analysis.metrics import Summary
from jaxcert.analysis.recheck import Recheck
from jaxcert.certificate import Certificates, certifies, tried

UNITS = "pixels in [0, 1]"


class Reference(NamedTuple):
    """Published numbers. certified: the share of images at each radius."""

    source: str
    certified: dict[float, float]


class Entry(NamedTuple):
    """One record of a report."""

    name: str
    certificates: Certificates
    summary: Summary
    recheck: Recheck
    reference: Reference | None = None
    against: Difference | None = None
    """its baseline, if there is one"""
    not_comparable: str = ""
    """why it cannot be compared with the baseline that was chosen for it"""
    gradients: dict[str, Any] | None = None
    """gradient_norms.json of the same checkpoint, if there is one"""
    source: Any = None
    """the images that it certifies (data.sources.Source), where they are at hand"""
    metrics: Sequence[dict[str, Any]] = ()
    """the lines of metrics.jsonl of its workdir"""
    beside: Sequence[tuple[str, Certificates]] = ()
    """(name, certificates) of published logs whose curves are drawn beside all records"""


def class_name(entry: Entry, number: int) -> str:
    """Return what a class is called: its name where the data set is at hand and has names, else
    its number."""
    names = entry.source.class_names if entry.source is not None else ()
    if not 0 <= number < len(names):
        return str(number)
    # names of folders may hold bytes that are no text, and breaks of lines
    return " ".join(names[number].encode("utf-8", "replace").decode().split())


def radius_text(radius: float) -> str:
    """Return a radius as text: '0.25', '36/255', '0.123456'. Digits are kept up to 1e-9
    of it, so that nobody reads a share at 0.1235 off 0.123456."""
    steps = round(radius * 255)
    decimal = abs(radius * 1000 - round(radius * 1000)) < 1e-9
    if steps and not decimal and abs(radius * 255 - steps) < 1e-9:
        return f"{steps}/255"
    texts = (f"{radius:.{digits}g}" for digits in range(4, 18))
    return next(t for t in texts if abs(float(t) - radius) <= 1e-9 * radius)


def distinct(radii: ArrayLike) -> np.ndarray:
    """Return rising radii float64 [R]. Of radii that differ by 1e-9 of them the least
    stays, as they have one `radius_text`."""
    radii = np.unique(np.asarray(radii, np.float64))
    return radii[np.append(True, np.diff(radii) > 1e-9 * radii[1:])[: len(radii)]]


def percent(share: float) -> str:
    """Return a share in percent with one digit, such as '65.7'; '--' for nan."""
    return "--" if math.isnan(share) else f"{100 * share:.1f}"


def with_error(
    share: float, error: float, low: float, high: float, *, sign: str = ""
) -> str:
    """Return a share or a difference of shares in percent with its error, '65.7 ±0.5';
    where that would be ±0.0 with the 95 % interval, rounded outwards: '100.0 [99.5,
    100.0]'. '--' for nan. sign: '+' to print that of what is above 0, too"""
    if math.isnan(share):
        return "--"
    # numpy would round 59.85 to 59.8, and formats to 59.9; + 0.0: not -0.0
    text = f"{round(100 * float(share), 1) + 0.0:{sign}.1f}"
    if round(100 * error, 1) > 0:
        return f"{text} ±{100 * error:.1f}"
    low, high = outwards(low, high)
    return f"{text} [{low:{sign}.1f}, {high:{sign}.1f}]"


def certified_share(s: Summary, i: int) -> str:
    """Return the certified accuracy at the i-th radius, `with_error`."""
    ends = s.certified_low[i], s.certified_high[i]
    return with_error(s.certified[i], s.certified_error[i], *ends)


def outwards(low: float, high: float) -> tuple[float, float]:
    """Return the ends of an interval in points, rounded outwards to one digit; -0.0 is
    below 0."""
    # rounded before: 100 * 0.57 is a little less than 57
    ends = math.floor(round(1000 * low, 6)), math.ceil(round(1000 * high, 6))
    first, last = (
        math.copysign(end / 10, value) if value else 0.0
        for end, value in zip(ends, (low, high), strict=True)
    )
    return first, last


def published_percent(share: float) -> str:
    """Return a published share with the digits it was published with, at most two."""
    return f"{100 * share:.2f}".removesuffix("0")


def share_name(c: Certificates) -> str:
    """Return what `certified_share` is of this record, in words."""
    return (
        "certified accuracy" if c.labelled else "share of images with a certified class"
    )


def describe(header: dict[str, Any]) -> str:
    """Say in one line how the certificates were made."""
    procedure = header.get("procedure")
    procedure = procedure if isinstance(procedure, dict) else {}
    if missing := missing_settings(header):
        left_out = ["the constant classifier"]
        if "sigma" in missing:
            left_out = ["vote probabilities", *left_out]
        verb = "need" if len(left_out) > 1 else "needs"
        options = in_words([f"--{name}" for name in missing])
        return f"a table of randomized smoothing; {in_words(left_out)} {verb} {options}"
    words = []
    if header.get("format") == "tsv":
        predict = procedure.get("name") == "predict"
        words.append("a table without radii" if predict else "a table, as told here")
    words.append(str(header.get("method", "unknown method")))
    base = header.get("base")
    if isinstance(base, dict):  # a classifier made of other networks
        told = [
            str(base[k]) for k in ("kind", "search", "weighting", "stated") if k in base
        ]
        words.append(f"{base.get('name')}" + (f" ({', '.join(told)})" if told else ""))
    if procedure.get("name") and procedure["name"] != header.get("method"):
        words.append(str(procedure["name"]))
    if header.get("sigma"):
        words.append(f"{procedure.get('noise', 'gaussian')} noise")
        words.append(f"sigma {header['sigma']:g}")
    words += [f"{key} {procedure[key]}" for key in ("n0", "n") if key in procedure]
    words += _rival(procedure) + ["bounded again"] * ("bounded_again" in header)
    if header.get("alpha"):
        words.append(f"each wrong with probability at most {header['alpha']:g}")
    elif "alpha" in header:
        words.append("deterministic")
    if header.get("selected_on") == "holdout":
        words.append("the best checkpoint by held-out training images")
    elif "selected_on" in header:
        words.append(
            f"the best checkpoint by the {header['selected_on']} images themselves"
        )
    return ", ".join(words)


def wrong(entry: Entry) -> str:
    """Say how many of a record's certificates may be wrong; '' where none can be, or where that
    is not known."""
    header, images = entry.certificates.header, entry.summary.images
    alpha, held = header.get("alpha"), header.get("familywise")
    if not alpha:
        return ""
    if not isinstance(held, dict):
        return f"on average at most {alpha * images:.3g} of {images:,}: alpha times the images"
    largest = held.get("largest")
    upto = "" if largest is None else f" up to {radius_text(largest)}"
    return (
        f"none of the {held['images']:,} radii{upto}, with probability at least "
        f"{1 - held['alpha']:.6g} ({held['name']})"
    )


def _rival(procedure: dict[str, Any]) -> list[str]:
    """Say how the probabilities of the other classes were bounded, if otherwise than by 1 -
    p_lower."""
    words = {
        "runner_up": "the other classes bounded by their own votes",
        "auto": "per image p_lower alone or the other classes bounded too, by the votes of the "
        "selection",
    }.get(str(procedure.get("rival", "")), "")
    return [words] if words else []


def missing_settings(header: dict[str, Any]) -> list[str]:
    """Return which of sigma, alpha and n a table of CERTIFY does not state. Vote probabilities
    and the constant classifier need them."""
    procedure = header.get("procedure") or {}
    smoothing = header.get("method"), header.get("norm", "l2")
    if header.get("format") != "tsv" or smoothing != ("smoothing", "l2"):
        return []
    if procedure.get("name", "certify") not in ("certify", "unknown procedure"):
        return []
    known = dict(
        sigma=header.get("sigma"), alpha=header.get("alpha"), n=procedure.get("n")
    )
    return [name for name, value in known.items() if not value]


def evidence(entry: Entry) -> str:
    """Say what came of the re-check: what follows from the record, and what cannot be
    seen."""
    recheck, c = entry.recheck, entry.certificates
    notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in recheck.notes)
    if recheck.holds and recheck.reason:
        return f"Radii were not re-checked: {recheck.reason}.{notes}"
    if recheck.holds:
        if not recheck.checked:
            return (
                f"No image has a prediction whose evidence could be re-checked.{notes}"
            )
        what = f"All {recheck.checked} predictions and radii follow"
        if recheck.checked == 1:
            what = "The one prediction and its radius follow"
        return (
            f"{what} from the evidence in the record; whether it is the network's own cannot "
            f"be seen without the network.{notes}"
        )
    images = ", ".join(str(int(c.index[i])) for i in recheck.failing[:5])
    more = ", ..." if len(recheck.failing) > 5 else ""
    why = f": {recheck.reason}" if recheck.reason else ""
    return (
        f"{len(recheck.failing)} of {recheck.checked} certificates exceed their evidence "
        f"(images {images}{more}){why}."
    )


def changed_votes(entry: Entry) -> str:
    """Return a sentence on how often bfloat16 changed a vote of the selection."""
    n0 = entry.certificates.header["procedure"]["n0"]
    return (
        f"bfloat16 changed {100 * entry.summary.changed:.2g} % of n0 votes per image (at "
        f"most {int(entry.certificates.changed.max())} of {n0})"
    )


def average_radius(entry: Entry) -> str:
    """Return the average certified radius, with what must be read beside it."""
    s = entry.summary
    text = f"{s.acr:.3f}"
    if round(s.acr_error, 3) > 0:
        text += f" ±{s.acr_error:.3f}"
    beside = [_OF_GRID] if tried(entry.certificates) is not None else []
    if s.acr_share is not None:
        beside.append(f"{percent(s.acr_share)} % of it is from p_lower > 0.99")
    held = entry.certificates.header.get("familywise")
    if isinstance(held, dict) and "largest" in held:
        beside.append(f"no radius above {radius_text(held['largest'])} is claimed")
    elif s.trivial_acr is not None:
        words = f"a constant classifier has {s.trivial_acr:.3f}"
        if math.isfinite(s.trivial_n):
            words += (
                f", and more than this record from n = {_count(s.trivial_n)} samples"
            )
        beside.append(words)
    return f"{text} ({'; '.join(beside)})" if beside else text


_OF_GRID = "each the largest tried that holds"
"""The words for the radii of a record that tried some radii alone."""


def first_positive(s: Summary) -> int | None:
    """Return the position of the least radius above 0 of which the record says what is
    certified."""
    stated = np.flatnonzero((s.radii > 0) & ~np.isnan(s.certified))
    return int(stated[0]) if len(stated) else None


def result(entry: Entry, norm: str = "") -> str:
    """Return clean and certified accuracy at the first radius above 0 as a sentence; '' where
    neither is known. norm: what to call the norm, by default as the header does."""
    s, header = entry.summary, entry.certificates.header
    data = [str(header[k]) for k in ("dataset", "split") if header.get(k)]
    norm, parts = norm or str(header.get("norm", "l2")), []
    right = "are classified correctly" if entry.certificates.labelled else "get a class"
    first = first_positive(s)
    for i in [0] if first is None else sorted({0, first}):
        radius, share = s.radii[i], certified_share(s, i)
        if share == "--":
            continue
        within = f"provably so within {norm} radius {radius_text(radius)}"
        parts.append(f"{share} % {within if radius else right}")
    images = " ".join([f"{s.images:,}", *data, "images"])
    return f"Of {images}, {', '.join(parts)}." if parts else ""


def mean_and_median(entry: Entry) -> str:
    """Return mean and median radius of the images that count, as text."""
    s, c = entry.summary, entry.certificates
    if math.isnan(s.mean_radius):
        return f"no image {'is correct' if c.labelled else 'has a class'}"
    of_grid = [_OF_GRID] if tried(entry.certificates) is not None else []
    return ", ".join(
        [f"mean {s.mean_radius:.3g}", f"median {s.median_radius:.3g}", *of_grid]
    )


def numbers(entry: Entry) -> dict[str, str]:
    """Return what a report says of a record beside its certified accuracies, by name; the
    average radius is not among it, because it comes last."""
    s, found, labelled = entry.summary, {}, entry.certificates.labelled
    if labelled and (i := first_positive(s)) is not None:
        share = f"{percent(s.wrong_certified[i])} %"
        found[f"certified at {radius_text(s.radii[i])} for a wrong class"] = share
    if s.error:
        found["could not be evaluated"] = f"{percent(s.error)} %"
    if certifies(entry.certificates):
        which = "the correct images" if labelled else "the images with a class"
        found[f"radius of {which}"] = mean_and_median(entry)
    if s.paper:
        found["by the estimates of the paper"] = paper_radii(entry)
    if s.changed is not None:
        found["votes"] = changed_votes(entry)
    if entry.gradients:
        found["gradient norms of training images"] = gradient_norms(entry)
    return found


def gradient_norms(entry: Entry) -> str:
    """Say of which images the network still learns, by Table 1 of Sun et al. (2024)."""
    g = entry.gradients
    groups = [
        f"{kind} {g[kind]['mean']:.3g} ({g[kind]['images']:,} images)"
        for kind in ("easy", "hard")
        if g[kind]["mean"] is not None
    ]
    if g["ratio"] is not None:
        error = "" if g["ratio_error"] is None else f" ±{g['ratio_error']:.2g}"
        groups.append(f"easy / hard {g['ratio']:.3g}{error}")
    return ", ".join(groups)


def paper_radii(entry: Entry) -> str:
    """Say what is certified by the estimates of the paper, and what proven constants
    cost."""
    s = entry.summary
    shares = [
        f"{percent(share)} % at {radius_text(radius)}"
        for radius, share in zip(s.radii, s.paper.certified, strict=True)
        if radius > 0
    ]
    text = f"{', '.join(shares)}; " if shares else ""
    if math.isnan(s.paper.median_ratio):
        return f"{text}no image has a radius by both"
    kind = "proven" if entry.recheck.checked else "the record's"
    return (
        f"{text}{kind} radii are {s.paper.median_ratio:.5f} of these (median), at least "
        f"{s.paper.least_ratio:.5f}"
    )


def _count(n: float) -> str:
    """Return a number as text: '1,234,567', and with more digits '3.5e+29'."""
    return f"{n:,.0f}" if n < 1e9 else f"{n:.2g}"


def in_words(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
