"""Finds what the header of a record says against itself, and which rows the record misses.

The header of a run holds the run's config; the certificate's own keys must be what that
config makes of them. A network's norm is known from its model. Whoever changes config and keys
alike is not seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.certificates import rechecking, sequential
from jaxcert.errors import InputError
from jaxcert.records import FORMAT, FORMAT_1

NORMS = {
    "bronet": "l2",
    "dist_net": "linf",
    "lip_convnet": "l2",
    "lipnext": "l2",
    "liresnet": "l2",
    "liresnet_pp": "l2",
}
"""The norm of the Lipschitz constants of each model that has some."""

_SMOOTHING = ("certify", "predict", "radii", "two_stage", "sequence")
_PROCEDURES = {
    "smoothing": _SMOOTHING,
    "lipschitz": ("margin",),
    "interval": ("interval",),
    "diffusion_classifier": ("margin",),
}
"""The procedures of each method."""
_DETERMINISTIC = ("lipschitz", "interval")
_SAMPLED = ("smoothing", "diffusion_classifier")
_CHOSEN = ("alpha", "sigma", "norm", "noise", "procedure", "n", "n0")
"""The keys of a smoothing certificate that a config chooses."""
_DEFAULTS = {"norm": "l2", "noise": "gaussian"}
"""The values that a re-check takes where a header does not state them."""


def check(c: Certificates) -> None:
    """Raises InputError for the first thing in the header that contradicts the rest of it,
    or for rows that it cannot have."""
    for fault in _faults(c):
        raise rechecking.contradiction(fault)


def notes(c: Certificates) -> list[str]:
    """Sentences on rows of the request that are missing, on rows that no request names, and
    on a request that is not known. Of rows that were never in a file there is none."""
    if c.header.get("format") is None:
        return []
    old = c.header.get("format") != FORMAT
    requests = c.header.get("requests") or [None]
    known = [r for r in requests if r is not None]
    found = _not_compared(c.header)
    if old:
        chose = "" if c.selection is not None else ", and the votes that chose a class"
        found.append(
            f"the record is of the format {FORMAT_1}, which holds less evidence: the norms of "
            f"layers and the rule of the procedure{chose} are not seen"
        )
    if part := c.header.get("part"):
        found.append(
            f"the record is part {part} of a certification: `python -m jaxcert.merge` joins "
            "all parts"
        )
    ranges = known + _of_config(c.header)
    if ranges:
        asked = _asked(ranges, c)
        done = int(np.isin(asked, c.index).sum())
        if done < len(asked):
            found.append(
                f"incomplete: {done:,} of {len(asked):,} rows of the request are there"
            )
    if known and len(known) == len(requests):
        others = int((~np.isin(c.index, _asked(known, c))).sum())
        if others:
            found.append(
                f"{others:,} rows are of images that no request in the record names, as where "
                "the rows of another file were joined: whether these are complete is not seen"
            )
    if len(known) < len(requests):
        found.append(
            "the record does not say which images were asked for: rows that were deleted are "
            "not seen"
        )
    return found


def _not_compared(header: dict[str, Any]) -> list[str]:
    """Sentences on what the header alone says, where a part of it that says so as well is
    missing."""
    method, config = header.get("method"), _dict(header.get("config"))
    certify = _dict(config.get("certify"))
    model = _dict(header.get("model")) or _dict(config.get("model"))
    found, unknown = [], str(model.get("name")) not in NORMS
    name = _dict(header.get("procedure")).get("name")
    deterministic = method in _DETERMINISTIC or name in ("margin", "interval")
    unknown &= not _dict(header.get("network"))
    if deterministic and method != "diffusion_classifier" and unknown:
        found.append(
            "the record names no model whose norm is known: that its radii are of the norm "
            f"{header.get('norm')} is not seen"
        )
    base = _dict(header.get("base"))
    if "fixed_by" in base and "digest" not in base:
        found.append(
            f"nothing in the record fixes its base classifier, which is stated to be "
            f"{_short(base.get('stated'))}"
        )
    if not certify:
        found.append(
            "the record does not hold the config of its certificate: what its header says is "
            "not compared with it"
        )
        return found
    needed = {"smoothing": _CHOSEN, "interval": ("radii",)}.get(str(method), ())
    left = [key for key in ("name", "split", "seed", *needed) if key not in certify]
    left = [f"certify.{key}" for key in left]
    left += [key for key in ("model", "precision") if key not in config]
    left += [
        f"model.{key}" for key in ("num_classes", "image_shape") if key not in model
    ]
    left += ["data.name"] if "name" not in _dict(config.get("data")) else []
    if left:
        found.append(
            f"the config in the record does not say {', '.join(left)}: what its header says "
            "of that is not compared with it"
        )
    return found


def _of_config(header: dict[str, Any]) -> list[dict[str, int]]:
    """Return the request that follows from the config of the certificate, in a list, which is
    empty where that is not known. Rows that were deleted with their request are missed so."""
    certify = _dict(_dict(header.get("config")).get("certify"))
    start, stop, step = numbers = [certify.get(k) for k in ("start", "stop", "step")]
    images = header.get("images")
    if not all(type(x) is int and x >= 0 for x in [*numbers, images]) or not step:
        return []
    return [dict(start=start, stop=min(stop or images, images), step=step)]


def _asked(requests: list[dict[str, int]], c: Certificates) -> np.ndarray:
    ranges = [range(r["start"], r["stop"], r["step"]) for r in requests]
    if sum(map(len, ranges)) > 10 * len(c.index) + 10**8:
        raise InputError(
            "the record's header has requests of more images than data sets have: restore "
            "the file, or certify again into another one with --out."
        )
    return np.unique(
        np.concatenate([np.arange(r.start, r.stop, r.step) for r in ranges])
    )


def _faults(c: Certificates) -> Iterator[str]:
    header = c.header
    method, norm = header.get("method"), header.get("norm")
    procedure = _dict(header.get("procedure"))
    config = _dict(header.get("config"))
    model = _dict(header.get("model")) or _dict(config.get("model"))
    name = str(procedure.get("name"))
    others = {p for found in _PROCEDURES.values() for p in found}
    if name in others - set(_PROCEDURES.get(str(method), others)):
        yield f"method {method} has no procedure {name!r}"
    shape = _dict(header.get("network")).get("image_shape")
    if shape is not None and not _same(model.get("image_shape", shape), shape):
        yield f"images of {shape} where the model has {model['image_shape']}"
    if method in _DETERMINISTIC:
        known = NORMS.get(str(model.get("name")))
        if known is not None and norm != known:
            yield f"norm {norm} where the model {model['name']} is certified in {known}"
        for key in ("alpha", "sigma"):
            if header.get(key) and name in others:
                yield f"{key} {header[key]} where {method} is deterministic"
    yield from _of_generator(c)
    classes = header.get("num_classes")
    # the network below another base classifier may have other classes
    base = _dict(header.get("base")) if method == "smoothing" else {}
    base = base if base.get("name") != method else {}
    known = (base or model).get("num_classes")
    rival = str(procedure.get("rival", "single"))
    if base.get("may_fail") is True and (rival != "single" or name == "predict"):
        # answers that never came may have been for another class
        yield f"rival {rival}, procedure {name} of a base classifier that may fail"
    if known is not None and classes is not None and classes != known:
        yield f"num_classes {classes} where its network has {known}"
    for column in ("counts", "logits"):
        values = getattr(c, column)
        if values is not None and classes is not None and values.shape[1] < classes:
            yield f"num_classes {classes} where rows have {column} of {values.shape[1]}"
    yield from _against_config(c, model, config, procedure)
    yield from _outside(c)


def _of_generator(c: Certificates) -> Iterator[str]:
    """Yield what the header says of random numbers that cannot be the ones that its votes or
    samples were drawn with."""
    if c.header.get("method") not in _SAMPLED:
        return
    found = rechecking.stated(c, "generator", c.header)
    if found is None:
        return
    keys = rechecking.stated(c, "keys", _dict(found))
    if _dict(found).get("implementation") != "threefry2x32":
        yield f"the generator {_short(found)}, whose noise may repeat from image to image"
    elif found.get("partitionable") is not True or not isinstance(keys, str | None):
        yield f"the generator {_short(found)}, by which votes are not what seed and index say"


def _against_config(c, model, config, procedure) -> Iterator[str]:
    header, certify = c.header, _dict(config.get("certify"))
    if not certify:
        return
    expected = {"method": certify.get("name"), "split": certify.get("split")}
    expected |= {"seed": certify.get("seed"), "precision": config.get("precision")}
    expected |= {key: certify.get(key) for key in ("alpha", "norm", "sigma")}
    expected["model"] = config.get("model")
    data = _dict(config.get("data"))
    expected["dataset"] = data.get("name")
    # smoothing of another base classifier than a network is a certificate of its name
    base = _dict(header.get("base")).get("name", header.get("method"))
    known = _DEFAULTS | header | {"method": base}
    for key, value in expected.items():
        if value is not None and not _same(known.get(key), value):
            yield f"{key} {_short(known.get(key))} where its config has {_short(value)}"
    asked = dict(certify, name=certify.get("procedure"))
    if header.get("method") in ("lipschitz", "interval"):
        asked = {"radii": asked.get("radii")}
    elif header.get("method") == "smoothing":
        procedure = {"noise": _DEFAULTS["noise"]} | procedure
    for key, value in procedure.items():
        wanted = asked.get(key)
        if wanted is None:
            continue
        if key == "name" and header.get("method") != "smoothing":
            continue
        if key == "radii":
            wanted = sorted({float(r) for r in _numbers(wanted)})
            if header.get("method") == "interval":
                wanted = [r for r in wanted if r]
            else:  # those that n cannot prove are not tried
                wanted = wanted[: len(_numbers(value))]
        if not _same(value, wanted):
            yield f"{key} {_short(value)} where its config has {_short(wanted)}"
    n, looks = procedure.get("n"), procedure.get("looks")
    if looks is not None and type(n) is int and 1 <= n < 2**31:
        if not _same(looks, list(sequential.looks(n))):
            yield f"looks {_short(looks)}, which are not those of n {n}"


def _outside(c: Certificates) -> Iterator[str]:
    """Return the rows of images that the data set lacks."""
    images = c.header.get("images")
    if type(images) is int and (c.index >= images).any():
        row = int(np.flatnonzero(c.index >= images)[0])
        yield f"line {row + 2} is of image {c.index[row]} of a data set of {images}"


def _same(one: Any, other: Any) -> bool:
    """Return whether a value of the header is that of the config, or its float32 number, in
    which noise is drawn."""
    number = (int, float)
    if type(one) in number and type(other) in number:
        return one == other or one == float(np.float32(other))
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _numbers(value: Any) -> list[Any]:
    plain = value if isinstance(value, list | tuple) else []
    return [x for x in plain if type(x) in (int, float)]


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."
