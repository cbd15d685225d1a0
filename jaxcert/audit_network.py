"""Check records against the weights of their network, by a program of its own.

    python -m jaxcert.audit_network WEIGHTS [RECORD...] [--images FILE]
    python3 audit_network.py WEIGHTS [RECORD...]

The second runs these files alone: audit_network.py, audit_models.py and audit_layers.py.

WEIGHTS is a file of `jaxcert export`. All constants of the network and, for the images that are
at hand, logits and interval margins are computed again in float64 and compared with the record:
its checkpoint, model, constants, labels, logits, margins, and every radius with what the network
itself proves. Exit status: 0, all of it holds; 1, something claims more than the network gives;
2, not judged.
"""

import argparse
import hashlib
import json
import math
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

if __package__:
    from jaxcert.audit_models import NETWORKS, Network
else:
    from audit_models import NETWORKS, Network

WEIGHTS = "jaxcert-weights-1"
RECORDS = ("jaxcert-certificates-1", "jaxcert-certificates-2")
TOLERANCE = 1e-9
"""Relative, of constants and radii; logits and margins may differ by the record's own slack."""
BATCH = 64
"""So many images pass the network together."""
TYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "U32": "<u4"}
TYPES |= {"U8": "u1", "BOOL": "?"}


class Other(Exception):
    """What is given does not belong together, or is of no kind that is known here."""


class Weights(NamedTuple):
    digest: str
    model: dict
    network: Network | None
    """None for one without constants or intervals"""


def read_weights(path: Path) -> Weights:
    """Read an exported network. Raises Other for a file that is none, or whose arrays are not
    those that it says."""
    try:
        arrays, metadata = _arrays(path)
        if metadata.get("format") != WEIGHTS:
            raise Other(f"{path} is no network of `jaxcert export` ({WEIGHTS})")
        model, said = json.loads(metadata["model"]), metadata["digest"]
        known, digest = model["name"] in NETWORKS, digest_of(arrays)
    except OSError as error:
        raise Other(f"{path} cannot be read: {error.strerror}") from None
    except Other:
        raise
    except Exception:  # any: numpy raises many for files that are damaged
        raise Other(f"{path} is no safetensors or npz file, or cut off") from None
    if digest != said:
        raise Other(f"{path} is damaged: its arrays have not the digest that it says")
    if not known:
        return Weights(digest, model, None)
    try:
        of = Modules(arrays)
        with np.errstate(all="ignore"):
            network = NETWORKS[model["name"]](model, of)
            z = network.logits(np.zeros((1, *model["image_shape"])))
            known = np.isfinite(network.pairwise()).all() and np.isfinite(z).all()
        must(known and z.shape == (1, len(network.head)), "a number is not finite")
        unused = sorted(set(of) - of.used)
        must(not unused, f"the model has no {', '.join(unused)}")
    except Exception as why:
        reason = f"{path} holds other arrays than those of its model"
        raise Other(f"{reason}: {type(why).__name__} {why}") from None
    return Weights(digest, model, network)


class Modules(dict):
    """Float64 arrays of each module by their own names; `used` are the modules asked for."""

    def __init__(self, arrays: dict[str, np.ndarray]):
        self.used: set[str] = set()
        for name, array in arrays.items():
            words = name.split(".")[1 if name.startswith("params.") else 2 :]
            module = self.setdefault(".".join(words[:-1]), {})
            module[words[-1]] = array.astype(np.float64)

    def __getitem__(self, name):
        self.used.add(name)
        return super().__getitem__(name)

    def get(self, name, default=None):
        return self[name] if name in self else default


def _arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        return arrays, json.loads(str(arrays.pop("__metadata__")))
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    head, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    metadata, arrays = head.pop("__metadata__"), {}
    for name, how in head.items():
        begin, end = how["data_offsets"]
        array = np.frombuffer(body[begin:end], TYPES[how["dtype"]])
        arrays[name] = array.reshape(how["shape"])
    return arrays, metadata


def digest_of(arrays: dict[str, np.ndarray]) -> str:
    total = hashlib.blake2b(digest_size=16)
    for name, value in sorted(arrays.items()):
        value = np.ascontiguousarray(value)  # of a single number, the shape (1,)
        total.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    return total.hexdigest()


def read_images(
    path: Path | None, head: dict, shape: tuple
) -> tuple[np.ndarray, Any] | None:
    """Return (float64 images in [0, 1], labels or None) in the order of the data set, or None
    where they are not at hand. Raises Other for images of another data set."""
    own = Path(__file__).with_name("data") / "digits.npz"
    path = own if path is None and head.get("dataset") == "digits" else path
    if path is None or not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            chosen = file[head["split"]] if head.get("split") in file else slice(None)
            image, label = file["image"][chosen], None
            if "label" in file:
                label = file["label"][chosen].astype(np.int32)
    except Exception:
        raise Other(f"{path} is no npz file with an array `image`") from None
    image = image if image.ndim == 4 else image[..., None]
    side = (head["config"].get("data") or {}).get("pad") or image.shape[1]
    before = [(side - size) // 2 for size in image.shape[1:3]]
    pads = [(b, side - n - b) for b, n in zip(before, image.shape[1:3], strict=True)]
    image = np.pad(image, [(0, 0), *pads, (0, 0)])
    if image.shape[1:] != shape:
        raise Other(
            f"{path} has images of {image.shape[1:]}, the network takes {shape}"
        )
    digest = hashlib.sha256(b"" if label is None else label)
    digest.update(np.ascontiguousarray(image) if image.nbytes < 2**28 else b"")
    said = head.get("data_digest")
    if label is not None and said not in (None, digest.hexdigest()[:16]):
        raise Other(f"{path} has other images or labels than the record was made of")
    image = image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)
    return image, label


# A record


def read_record(path: Path) -> tuple[dict, list[bytes]]:
    """Return (header, lines of the rows) of a record, or of that in a workdir. Raises Other."""
    try:
        path = path / "certificates.jsonl" if path.is_dir() else path
        first, *lines = path.read_bytes().splitlines() or [b""]
        head = json.loads(first, object_pairs_hook=once)
        if isinstance(head, dict) and head.get("format") in RECORDS:
            return head, lines
    except OSError as error:
        raise Other(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):  # no text, or no JSON
        pass
    raise Other(f"{path} has no header of {' or '.join(RECORDS)}")


def must(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def once(pairs: list) -> dict:
    must(len(dict(pairs)) == len(pairs), "a key stands there twice")
    return dict(pairs)


def off_diagonal(constants, classes: int) -> np.ndarray:
    full = np.broadcast_to(np.asarray(constants, np.float64), (classes, classes))
    return full[~np.eye(classes, dtype=bool)]


def check_constants(head: dict, network: Network) -> float:
    """Return the largest share by which the record's constants exceed those of the network.
    Raises ValueError for one that is below, and for a slack that is no number."""
    stated = head.get("network") or {}
    norms = {head.get("norm"), stated.get("norm", network.norm)}
    must(norms == {network.norm}, f"norm {norms}, the network {network.norm}")
    slack = head["procedure"].get("logit_slack")
    fits = type(slack) in (int, float) and 0 <= slack < math.inf
    must(fits, f"logit_slack is {slack!r}")
    if head["method"] != "lipschitz":
        return 0.0
    own, classes = network.pairwise(), len(network.head)
    if "layers" in head:
        mine = [x for x in network.layers if x.name]
        names = [x["name"] for x in head["layers"]]
        must(names == [x.name for x in mine], f"layers are {names}")
        for said, layer in zip(head["layers"], mine, strict=True):
            fits = said["bound"] >= layer.constant * (1 - TOLERANCE)
            must(fits, f"{layer.name}: {said['bound']}, the network {layer.constant}")
        said = off_diagonal(head["head"], classes)
        least = off_diagonal(network.head, classes) * (1 - TOLERANCE)
        must((said >= least).all(), "the head has constants below the network's")
    said = off_diagonal(head["pairwise_bound"], classes)
    least = off_diagonal(own, classes)
    smallest = f"pairwise_bound is {said.min()}, the network's {least.min()}"
    must((said >= least * (1 - TOLERANCE)).all(), smallest)
    return float((said / np.maximum(least, 1e-300)).max() - 1)


def certified(row: dict, images: int, seen: set) -> bool:
    """Return whether a row claims a class, and add its image to those that were seen. Raises
    ValueError for a radius without a class, and for an image that is not there, or was before."""
    i, y, label, r = (row[x] for x in ("index", "predicted", "label", "radius"))
    whole = all(type(x) is int for x in (i, y, 0 if label is None else label))
    must(whole and type(r) in (int, float), f"{i!r}, {y!r}, {label!r}, radius {r!r}")
    must(0 <= i < images and i not in seen, f"image {i} is none, or was there before")
    seen.add(i)
    must(r == 0 or (y >= 0 and 0 < r < math.inf), f"class {y}, radius {r!r}")
    return y >= 0


def check_row(row: dict, head: dict, network: Network, image, label, z) -> float:
    """Return by how much logits or margins differ from the network's. Raises ValueError for a
    row that claims more than the network gives. z: its own logits of the image [H,W,C]."""
    y, r = row["predicted"], row["radius"]
    must(label is None or row["label"] in (None, label), f"label {row['label']}")
    slack, others = head["procedure"]["logit_slack"], np.arange(len(z)) != y
    gaps = z[y] - z[others]
    differs = float(np.abs(np.subtract(row["logits"], z)).max())
    must(differs <= slack, f"logits differ by {differs:.3g} from the network's")
    least = -min(2 * slack, TOLERANCE * float(np.abs(z).max()))
    must((gaps >= least).all(), f"class {y}, the network's is {z.argmax()}")
    if head["method"] == "lipschitz":
        needs = r * network.pairwise()[y][others]
        fits = (needs <= gaps * (1 + TOLERANCE)).all()
        must(fits, f"radius {r!r} is more than the network gives")
        return differs
    tried = head["procedure"]["radii"]
    margins = row.get("least_margins") or [None] * len(tried)
    said = dict(zip(tried, margins, strict=True))
    if "margins" in row:  # version 0.1: those of the row's own radius
        said[r] = np.asarray(row["margins"], np.float64)[others].min()
    must(r == 0 or said.get(r) is not None, f"radius {r!r} has no margin")
    for eps, margin in said.items():
        if margin is None or not eps:
            continue
        lower = np.maximum(np.nextafter(image - eps, -np.inf), 0)
        upper = np.minimum(np.nextafter(image + eps, np.inf), 1)
        own = network.margins(lower[None], upper[None], np.array([y]))[0][others].min()
        differs = max(differs, abs(margin - own))
        must(abs(margin - own) <= slack, f"margin {margin!r} at {eps}: {own!r}")
        must(eps > r or own > 0, f"radius {r!r}: the network's margin is {own!r}")
    return differs


class Found(NamedTuple):
    """The result of comparing a record with a network."""

    status: int
    faults: list[str]
    notes: list[str]


def audit(
    path: str | Path,
    weights: Weights,
    images: Path | None = None,
    most: int | None = None,
) -> Found:
    """Compare a record, or that in a workdir, with a network. Returns a Found."""
    try:
        head, lines = read_record(Path(path))
        for key in ("config", "model", "procedure"):
            head[key] = head[key] if isinstance(head.get(key), dict) else {}
        said = head.get("checkpoint")
        if said not in (None, weights.digest):
            raise Other(
                f"it is of network {said!r}, and the weights are {weights.digest}"
            )
        network = weights.network
        if head.get("method") not in ("lipschitz", "interval"):
            raise Other(f"nothing of {head.get('method')!r} follows from weights alone")
        if network is None:
            raise Other(f"the model {weights.model['name']!r} is not known here")
        known = read_images(images, head, tuple(weights.model["image_shape"]))
    except Exception as why:  # a header of any form
        return Found(2, [f"cannot be judged: {why or repr(why)}"], [])
    faults, notes, differs, again, seen = [], [], 0.0, 0, set()
    try:
        for k, v in head["model"].items():
            fits = k in weights.model and weights.model[k] == v
            must(fits, f"{k!r} of the model is {v!r}, not that of the weights")
        above = check_constants(head, network)
    except Exception as error:  # any: what cannot be checked is not proven
        return Found(1, [f"line 1: {error or repr(error)}"], [])
    if head["method"] == "lipschitz":
        notes.append(f"its constants are the network's, or up to {above:.2g} larger")
    texts = lines[:most] if known else []
    for start in range(0, len(texts), BATCH):
        rows = []
        for line, text in enumerate(texts[start : start + BATCH], start + 2):
            try:
                row = json.loads(text, object_pairs_hook=once)
                if certified(row, len(known[0]), seen):
                    rows.append((line, row))
            except Exception as error:
                faults.append(f"line {line}: {error or repr(error)}")
        if not rows:
            continue
        image = known[0][[row["index"] for _, row in rows]]
        for (line, row), x, z in zip(rows, image, network.logits(image), strict=True):
            try:
                label = None if known[1] is None else known[1][row["index"]]
                differs = max(differs, check_row(row, head, network, x, label, z))
                again += 1
            except Exception as error:
                faults.append(f"line {line}: {error or repr(error)}")
    if known and (known[1] is None or head.get("data_digest") is None):
        notes.append(
            "not seen: whether images are the record's; no labels, or no data_digest"
        )
    same = f"{again} rows computed again: they differ by {differs:.2g} at most"
    notes.append(same if known else "not seen: logits, margins, radii: no images")
    if known and len(texts) < len(lines):
        notes.append(f"not seen: {len(lines) - len(texts)} further rows")
    if said is None:
        notes.append("not seen: whether it is of these weights; it names no checkpoint")
    return Found(int(bool(faults)), faults, notes)


def main(argv: list[str] | None = None) -> int:
    """Run the command. Returns the exit status."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "audit_network.py", description=__doc__, formatter_class=layout
    )
    parser.add_argument(
        "weights", type=Path, metavar="WEIGHTS", help="exported network"
    )
    parser.add_argument("records", nargs="*", metavar="RECORD", help="file, or workdir")
    text = "npz with `image` and `label` of the records' data set, in its order"
    parser.add_argument("--images", type=Path, metavar="FILE", help=text)
    text = "compute the first N rows again alone"
    parser.add_argument("--rows", type=int, metavar="N", help=text)
    given, worst = parser.parse_args(argv), 0
    try:
        if given.images and not given.images.is_file():
            raise Other(f"there is no file {given.images}")
        if given.rows is not None and given.rows < 1:
            raise Other(f"--rows is {given.rows}, and at least 1 is needed")
        weights = read_weights(given.weights)
    except Other as why:
        print(f"cannot be judged: {why}")
        return 2
    name, network = weights.model["name"], weights.network
    print(f"{given.weights}: network {weights.digest}, {name!r}")
    for layer in network.layers if network and not given.records else []:
        if layer.name:
            print(f"  {layer.name:16} {layer.constant:.12g}")
    if network:
        off = off_diagonal(network.pairwise(), len(network.head))
        print(f"  constants in {network.norm}: {off.min():.12g} to {off.max():.12g}")
    for path in given.records:
        status, faults, notes = audit(path, weights, given.images, given.rows)
        worst = 1 if 1 in (worst, status) else max(worst, status)
        said = "holds; level reached: network", f"{len(faults)} FAULTS", "not judged"
        print("\n  ".join([f"{path}: {said[status]}", *faults[:10], *notes]))
    return worst


if __name__ == "__main__":
    raise SystemExit(main())
