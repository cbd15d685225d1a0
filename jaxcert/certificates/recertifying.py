"""Certifies some images of a record again with fresh noise, and tests what the record claims.

A record of smoothing claims p_A >= p_lower of every image with a class A, and where the other
classes are bounded too p_j <= p_upper of each of them. Its author could have invented the votes.
n fresh votes of a network, k for A and at most m for another class, have under the claim

    P(votes for A <= k) <= P(Binomial(n, p_lower) <= k)      and
    P(votes for j >= m) <= P(Binomial(n, p_upper) >= m)

so the first is a p-value of the claim, and the smallest of all of them times their number is one
where several bounds are claimed (Bonferroni). PREDICT claims that no class is more probable than
A: of the votes for A and j together those for j are more than m with probability at most
P(Binomial(k + m, 1/2) >= m). The p-value of the images together is the smallest one times their
number: if all claims are true, it is at most a with probability at most a. Claims that are true
have p-values near 1, as p_lower lies below p; so one false claim is seen among many true ones.

The images and the noise follow from a seed that the author of the record could not know.

A deterministic certificate is computed again instead, and must give each class and no smaller
radius.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict
from scipy import special

from jaxcert import config as configs
from jaxcert import random_keys, records, sharding
from jaxcert.certificate import Certificates
from jaxcert.certificates import building, claims, norms, rechecking, runner_up
from jaxcert.data import recorded, sources
from jaxcert.errors import InputError, whole_from
from jaxcert.progress import Progress
from jaxcert.workdirs import checkpoint

_UP = 1 + 1e-9
"""The factor that rounds a p-value up, by more than the error of scipy's functions."""
_LEAST = 1e-300
"""The least p-value that is told: below it float64 ends."""
_IMAGES: dict[str, type] = {"name": str, "pad": int, "resize": list}
"""The keys of config.data, and their types in a file, that a record may have otherwise than the
run; what they name is opened if it is at hand, and never downloaded."""
_SAME = ("method", "norm", "sigma", "base", "networks")
"""The keys of a header that the certifier of the fresh votes must have as well."""


class Again(NamedTuple):
    """The p-values of the claims of a record on k of its images, from certifying them again."""

    index: np.ndarray
    """int64 [k]"""
    predicted: np.ndarray
    """int32 [k], of the record"""
    n: int
    """the fresh votes of each; 0: a deterministic certificate"""
    p_value: np.ndarray
    """float64 [k], of the claim on each image; of a deterministic certificate 1 or 0"""
    said: list[str]
    """for each image the claim beside what was found, in words"""
    seed: int

    @property
    def p(self) -> float:
        """The p-value of all claims together."""
        return together(self.p_value)


def together(p_value: np.ndarray) -> float:
    """Return the p-value of several claims, which may depend on each other."""
    return float(min(1.0, len(p_value) * p_value.min()))


class Claimed(NamedTuple):
    """The bounds that a record claims for R of its images with a class."""

    name: str
    """the procedure"""
    p_lower: np.ndarray
    """float64 [R]"""
    p_upper: np.ndarray
    """float64 [R]; 1 where the other classes are not bounded"""
    bounds: np.ndarray
    """float64 [R], how many bounds are claimed of each image"""
    chosen: runner_up.Chosen
    """the class, and whether the others are bounded"""


def claimed(c: Certificates, rows: np.ndarray) -> Claimed:
    """Return what a record claims of rows with a class. Raises InputError for one without votes,
    and for a procedure of others."""
    if c.header.get("method") != "smoothing" or c.counts is None:
        raise InputError(
            f"fresh votes test claims about votes, and a record of {c.header.get('method')} has "
            "none: certify it again with another seed into another file, and compare."
        )
    name, one = str(rechecking.procedure(c).get("name")), np.ones(len(rows))
    chosen = runner_up.single(c.counts[rows], rechecking.alpha_of(c))
    if name == "radii":
        p0 = norms.p_needed(c.radius[rows], **rechecking.law(c))
        return _of(c, rows, Claimed(name, p0 * (1 - 1e-12), one, one, chosen))
    found = claims.of(c, rows)(1.0)
    if name == "predict":
        others = one * (c.counts.shape[1] - 1)
        return _of(c, rows, Claimed(name, found.p_lower, one, others, chosen))
    chosen, _ = rechecking.chosen(c, rows)
    # p_lower, and p_upper of every other class, whichever of them has most of the fresh votes
    bounds = np.where(chosen.both, float(c.counts.shape[1]), 1.0)
    return _of(c, rows, Claimed(name, found.p_lower, found.p_upper, bounds, chosen))


def _of(c: Certificates, rows: np.ndarray, what: Claimed) -> Claimed:
    """Return the claims for the predicted classes; fresh votes for no class are for no other."""
    none, selected = np.zeros(len(rows), bool), c.predicted[rows]
    chosen = what.chosen._replace(selected=selected, undrawn=none)
    return what._replace(chosen=chosen)


def p_values(what: Claimed, counts: np.ndarray, n: int) -> tuple[np.ndarray, list[str]]:
    """Return (p-values float64 [R], words [R]) of claims, by votes [R,K] of n samples each that
    are independent of the record."""
    k, other = what.chosen.votes(counts.astype(np.int64), n)
    if what.name == "predict":
        value = at_least(other, k + other, 0.5)
        bounds = ["no class more probable"] * len(k)
    else:
        value = np.minimum(
            at_most(k, n, what.p_lower), at_least(other, n, what.p_upper)
        )
        bounds = [
            f"p_lower {p:.6g}" + (f" and p_upper {q:.6g}" if q < 1 else "")
            for p, q in zip(what.p_lower, what.p_upper, strict=True)
        ]
    words = [
        f"{bound} claimed; {votes / n:.6g} of the fresh votes, {most / n:.6g} for another class"
        for bound, votes, most in zip(bounds, k, other, strict=True)
    ]
    return np.clip(value * what.bounds, _LEAST, 1.0), words


def at_most(k: np.ndarray, n: int, p: np.ndarray) -> np.ndarray:
    """Return P(Binomial(n, p) <= k), rounded up."""
    below = special.betaincc(np.minimum(k, n - 1) + 1, np.maximum(n - k, 1), p) * _UP
    return np.where(k >= n, 1.0, np.minimum(below, 1.0))


def at_least(k: np.ndarray, n: np.ndarray | int, p: np.ndarray | float) -> np.ndarray:
    """Return P(Binomial(n, p) >= k), rounded up."""
    above = special.betainc(np.maximum(k, 1), np.maximum(n - k, 0) + 1, p) * _UP
    return np.where(k <= 0, 1.0, np.minimum(above, 1.0))


def recertify(
    workdir: str | Path,
    path: str | Path,
    *,
    images: int = 20,
    seed: int | None = None,
    n: int | None = None,
) -> Again:
    """Certify random images of the record again with the network of the workdir.

    images: how many of those with a class; seed: of the choice and of the noise, by default one
    that nobody knew; n: fresh votes of each, by default those of the record's procedure.
    Raises InputError for a record of another network or of other data, one that does not say how
    it was made, and a seed that is the record's own.
    """
    whole_from(1, images=images)
    path, c = Path(path), records.load(path)
    seed = secrets.randbits(32) if seed is None else seed
    whole_from(0, seed=seed)
    sampled, own = bool(c.header.get("alpha")), c.header.get("seed")
    if sampled and type(own) is int and seed % 2**32 == own % 2**32:
        raise InputError(
            f"seed {seed} is that of the record, whose votes it would draw again: give another."
        )
    with_class = np.flatnonzero(c.predicted >= 0)
    if not len(with_class):
        raise InputError(
            f"{path} claims nothing: every image abstains, or is an error."
        )
    count = min(images, len(with_class))
    rows = np.sort(np.random.default_rng(seed).choice(with_class, count, replace=False))
    key = jax.random.fold_in(random_keys.key(seed), configs.CERTIFY_STREAM)
    at, config = c.index[rows], _config_of(workdir, path, c)
    if not sampled:
        source, certifier = _opened(config, workdir, path, c)
        again = certifier.certify(key, source.image[at], source.label[at], at)
        value, said = _compared(c, rows, again)
        return Again(at, c.predicted[rows], 0, value, said, seed)
    what = claimed(c, rows)
    n = rechecking.whole(c, "n", rechecking.procedure(c)) if n is None else n
    whole_from(10, n=n)
    # votes alone are wanted: alpha is that of no claim
    votes = dict(procedure="certify", rival="single", n=n, n0=1, alpha=0.5)
    with config.unlocked():
        config.certify.update(votes)
    source, certifier = _opened(config, workdir, path, c)
    parts, line = [], Progress("recertify", count)
    for done, i in enumerate(at.tolist(), 1):
        one = certifier.certify(key, source.image[[i]], source.label[[i]], [i])
        parts.append(one.counts)
        line.update(done)
    value, said = p_values(what, np.concatenate(parts), n)
    return Again(at, c.predicted[rows], n, value, said, seed)


def _config_of(workdir: str | Path, path: Path, c: Certificates) -> ConfigDict:
    """Return the config of the workdir with the certificate and the images of the record."""
    made = c.header.get("config")
    made = made if isinstance(made, dict) else {}
    certify = made.get("certify")
    if not isinstance(certify, dict) or not isinstance(certify.get("name"), str):
        raise InputError(
            f"{path} does not hold the config of its certificate, by which it is made again: "
            "certify from Python with another seed, and compare."
        )
    config, data = configs.read(workdir), made.get("data")
    data = data if isinstance(data, dict) else {}
    known = configs.base().certify.to_dict()
    certify = {k: known[k] for k in building.SELECTION if k in known} | certify
    certify = {k: tuple(v) if isinstance(v, list) else v for k, v in certify.items()}
    with config.unlocked():
        config.certify = ConfigDict(certify)
        config.precision = made.get("precision", config.precision)
        for key, kind in _IMAGES.items():
            value = data.get(key)
            if type(value) is kind:
                config.data[key] = tuple(value) if isinstance(value, list) else value
    configs.check(config, path)
    return config


def _opened(config: ConfigDict, workdir: str | Path, path: Path, c: Certificates):
    """Return (data, certifier) of the config. Raises InputError unless they are the record's."""
    data = config.data
    split = config.certify.split
    source = sources.of(data, split, download=False, labels=False)
    recorded.check_rows(c, source, path)
    sharding.use_precision(config.precision)
    mesh = sharding.data_mesh()
    model = configs.build("models", config.model)
    best = config.checkpoint.best
    loaded = checkpoint.load_network(model, workdir, mesh=mesh, best=best)
    opened = dict(checkpoint=loaded.digest, dataset=source.name)
    opened["data_digest"] = recorded.data_digest(source)
    _check_same(path, c.header, opened, tuple(opened))
    certifier = building.certifier_of(config, loaded.network, mesh)
    made = certifier.header
    _check_same(path, _of_law(c.header), _of_law(made), _SAME)
    law = {"noise": "gaussian"}
    asked = law | made["procedure"]
    _check_same(path, law | rechecking.procedure(c), asked, ("noise", "d"))
    return source, certifier


def _of_law(header: dict) -> dict:
    """Return the header without how a base classifier makes its keys: version 0.1 did not say it,
    and the law of fresh votes does not depend on it."""
    base = header.get("base")
    if not isinstance(base, dict):
        return header
    return header | {"base": {k: v for k, v in base.items() if k != "keys"}}


def _check_same(path: Path, header: dict, found: dict, keys: tuple[str, ...]) -> None:
    """Raises InputError for the first key that is not the same in both."""
    for key in keys:
        stated, other = (_text(one.get(key)) for one in (header, found))
        if stated != other:
            raise InputError(
                f"{path} has {key} {stated}, and what is here gives {other}: name the workdir and "
                "the data that the record was made with."
            )


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _compared(c: Certificates, rows: np.ndarray, again: Certificates):
    """Return (1 or 0 [R], words [R]): whether a deterministic certificate gives each row its
    class and at least its radius, up to the rounding of another device."""
    same = c.predicted[rows] == again.predicted
    same &= c.radius[rows] <= again.radius * (1 + records.SAME)
    words = [
        f"class {one} with radius {r:.6g}; computed again: class {other} with radius {s:.6g}"
        for one, r, other, s in zip(
            c.predicted[rows],
            c.radius[rows],
            again.predicted,
            again.radius,
            strict=True,
        )
    ]
    return same.astype(np.float64), words
