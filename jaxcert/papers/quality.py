"""How good generated images are, beside the test images of the data set."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert import sharding
from jaxcert.data import generated, sources
from jaxcert.data.sources import Source
from jaxcert.errors import InputError, whole_from
from jaxcert.papers import image_statistics
from jaxcert.progress import Progress
from jaxcert.workdirs.networks import predictor

COLUMNS = 10
"""How many images of each class are in the picture."""
_MOST_ROWS = 100
_BATCH = 256  # images that a network, or --features, gets at a time
_READ = """\
Good images have a Frechet distance to the training images like that of as many test
images, and are not much nearer to single ones. Distances: pixels in [0, 1]."""
_SEED = 0  # of which images are looked at


def pixels(image: np.ndarray) -> np.ndarray:
    """Return the features that need no network: pixels in [0, 1], uint8 [B,H,W,C] ->
    [B,HWC]."""
    return image.reshape(len(image), -1) / np.float32(255)


def look(
    path: str | Path,
    data: str,
    *,
    dir: str = "",
    pad: int = 0,
    classifier: str | None = None,
    features: str | None = None,
    count: int = 10_000,
    out: str | Path | None = None,
) -> tuple[dict[str, Any], Path]:
    """Measure a set of generated images, write quality.json and images.png, and return
    (what the file holds, its folder).

    data: name of a data set, whose archives are in `dir` and whose images are zero-padded to the
    side `pad`. classifier: a workdir. features: MODULE:FUNCTION. count: at most so many
    generated and test images, drawn; 0: all. out: by default <name>_quality beside the images.
    Raises InputError.
    """
    whole_from(0, **{"--count": count})
    function = find_features(features) if features else pixels
    images = open_set(path, count)
    train, test = (
        _data(data, split, most, dir=dir, pad=pad)
        for split, most in (("train", 0), ("test", count))
    )
    _check(images, train)
    judge = predictions(classifier, train) if classifier else None
    found = {
        "generated": str(path),
        "data": train.name,
        "features": features or "pixels",
        **measure(images, train, test, features=function),
    }
    if judge:
        found |= _judged(*judge, images, test)
    place = Path(path).expanduser()
    place = place if place.name.strip(".") else place.resolve()  # "." has no name
    out = Path(out) if out else place.with_name(f"{place.stem}_quality")
    out.mkdir(parents=True, exist_ok=True)
    (out / "quality.json").write_text(json.dumps(found, indent=1) + "\n")
    picture(images._replace(num_classes=train.num_classes), out / "images.png")
    return found, out


def show(path: str | Path, data: str, **how: Any) -> None:
    """Print what `look` finds, and where it wrote it; arguments and errors as there."""
    found, out = look(path, data, **how)
    print(
        f"{path} beside {found['data']}, {found['training_images']:,} training images\n"
    )
    print(table(found))
    print(f"\nwrote {out / 'quality.json'} and {out / 'images.png'}")


def measure(
    images: Source,
    train: Source,
    test: Source,
    *,
    features: Callable[[np.ndarray], np.ndarray] = pixels,
) -> dict[str, Any]:
    """Return what quality.json says, without a classifier, of the images (uint8
    [N,H,W,C], as those of `train` and `test`). features: uint8 [B,H,W,C] -> [B,D].

    Raises InputError for another shape or classes than the data set has, or bad features.
    """
    _check(images, train)
    train_law = image_statistics.moments(_features(train.image, features, "training"))
    near = [
        _nearest(source.image, train.image, f"nearest of {name}")
        for name, source in (("generated", images), ("test", test))
    ]
    found: dict[str, Any] = {"training_images": len(train.label)}
    for source, distance, before in ((images, near[0], ""), (test, near[1], "test_")):
        law = image_statistics.moments(_features(source.image, features, source.name))
        values = {
            "images": len(source.label),
            "frechet": image_statistics.frechet_distance(law, train_law),
            **image_statistics.closeness(distance, near[1])._asdict(),
            "repeats": image_statistics.repeats(source.image),
        }
        found |= {before + key: value for key, value in values.items()}
    counts = image_statistics.class_counts(images.label, train.num_classes)
    return {**found, "per_class": counts.tolist()}


def open_set(path: str | Path, count: int) -> Source:
    """Return at most `count` (0: all) images drawn from a folder of shards or an npz
    file, in memory. Raises InputError as `generated.open_generated`."""
    path = Path(path).expanduser()
    if not path.exists():
        raise InputError(f"there are no generated images at {path}: check --generated.")
    if count:
        count = min(count, generated.size(path))
    source = generated.open_generated(path, count=count, seed=_SEED)
    return source._replace(image=source.image[np.arange(len(source.label))])


def predictions(workdir: str | Path, data: Source) -> tuple[Callable, dict[str, Any]]:
    """Return (predict, facts): the classes int [N] of uint8 images [N,H,W,C] by the
    newest checkpoint of a workdir, and what it is.

    Raises InputError for a workdir without one, or a network for other images or classes.
    """
    mesh = sharding.data_mesh()
    label_of, classes, digest = predictor(workdir, data.image.shape[1:], mesh)
    if classes != data.num_classes:
        raise InputError(
            f"the network of {workdir} tells {classes} classes, {data.name} has "
            f"{data.num_classes}: give a classifier of {data.name}."
        )

    def predict(image: np.ndarray) -> np.ndarray:
        found = []
        for first in range(0, len(image), _BATCH):  # all of one size: one program
            rows = np.minimum(np.arange(first, first + _BATCH), len(image) - 1)
            found.append(label_of(image[rows]))
        return np.concatenate(found)[: len(image)]

    return predict, {"workdir": str(workdir), "checkpoint": digest}


def find_features(name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that MODULE:FUNCTION names. Raises InputError if there is
    none."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, ValueError, AttributeError) as error:
        raise InputError(
            f"--features {name} cannot be imported ({error}): give MODULE:FUNCTION, the "
            "module in this folder or installed."
        ) from None
    if not callable(found):
        raise InputError(f"--features {name} is no function: give MODULE:FUNCTION.")
    return found


def table(found: dict[str, Any]) -> str:
    """Return what was measured, as lines for people."""
    columns = [("generated", ""), ("test", "test_")]
    lines = [("", *(name for name, _ in columns))]

    def line(what: str, key: str, form: str) -> None:
        values = (found.get(before + key) for _, before in columns)
        cells = ("-" if v is None else format(v, form) for v in values)
        lines.append((what, *cells))

    line("images", "images", ",")
    line(f"Frechet distance of {found['features']}", "frechet", ".4g")
    line("l2 distance to the nearest training image, median", "median", ".3f")
    line("nearer to one than the closest 1 % of test images", "close", ".1%")
    line("nearer to one than every test image", "closer", ".1%")
    line("copies of a training image", "copies", ",")
    line("repeats of an image of the set", "repeats", ",")
    if "classifier" in found:
        workdir = found["classifier"]["workdir"]
        line(f"label predicted by {workdir}", "agreement", ".1%")
    first = max(len(row[0]) for row in lines)
    text = [f"{row[0]:{first}}" + "".join(f"{c:>12}" for c in row[1:]) for row in lines]
    counts = np.array(found["per_class"])
    text += ["", f"images per class: {_spread(counts)}", "", _READ]
    return "\n".join(text)


def picture(images: Source, path: Path) -> None:
    """Draw some images of each class, a row each, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    h, w, channels = images.image.shape[1:]
    rows = min(images.num_classes, _MOST_ROWS)
    canvas = np.full((rows * (h + 1) + 1, COLUMNS * (w + 1) + 1, 3), 255, np.uint8)
    for k in range(rows):
        of_class = np.flatnonzero(images.label == k)
        # evenly over the class: published files are sorted by confidence
        chosen = of_class[:: max(1, len(of_class) // COLUMNS)][:COLUMNS]
        for column, i in enumerate(chosen):
            y, x = k * (h + 1) + 1, column * (w + 1) + 1
            image = images.image[i]
            grey = image.mean(-1, keepdims=True)
            canvas[y : y + h, x : x + w] = image if channels == 3 else grey
    height = 0.5 * rows
    figure = Figure((0.5 * COLUMNS * w / h + 0.6, height + 0.2), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.09, 0.01, 0.9, 0.98))
    axes.imshow(canvas, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks((np.arange(rows) + 0.5) * (h + 1), range(rows))
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.savefig(path)


def _data(name: str, split: str, count: int, *, dir: str, pad: int) -> Source:
    """Return at most `count` (0: all) images of a split, uint8 in memory."""
    source = sources.open(name, split, dir=dir, pad=pad)
    size = len(source.label)
    rows = generated.draw(size, min(count or size, size), seed=_SEED, name=source.name)
    image = source.image[rows]
    if image.dtype != np.uint8:
        image = np.round(255 * image).astype(np.uint8)
    return source._replace(image=image, label=source.label[rows])


def _check(images: Source, data: Source) -> None:
    """Raises InputError unless the set has images of the shape and classes of the data
    set. It may lack a class, which the table tells, but has no others."""
    ours, theirs = images.image.shape[1:], data.image.shape[1:]
    if ours != theirs or images.num_classes > data.num_classes:
        raise InputError(
            f"{images.name} has {_kind(ours, images.num_classes)}, {data.name} has "
            f"{_kind(theirs, data.num_classes)}: give the --data the images are made like, "
            "or --pad."
        )


def _kind(shape: tuple[int, ...], classes: int) -> str:
    return f"images of {' x '.join(map(str, shape))} in {classes} classes"


def _nearest(image: np.ndarray, train: np.ndarray, what: str) -> np.ndarray:
    """Return l2 distances [N], pixels in [0, 1]."""
    line, found = Progress(what, len(image)), []
    for first in range(0, len(image), 4 * _BATCH):
        found.append(
            image_statistics.nearest(image[first : first + 4 * _BATCH], train)[0]
        )
        line.update(min(first + 4 * _BATCH, len(image)))
    return np.concatenate(found) / 255


def _features(image: np.ndarray, function: Callable, what: str) -> np.ndarray:
    """Return the features [N,D] of all images, taken a batch at a time."""
    line, found = Progress(f"features of {what}", len(image)), []
    for first in range(0, len(image), _BATCH):
        part = image[first : first + _BATCH]
        value = np.asarray(function(part))
        if value.ndim != 2 or len(value) != len(part):
            raise InputError(
                f"--features gives an array of shape {value.shape} for {len(part)} images: "
                "give [B,D] for [B,H,W,C]."
            )
        found.append(value)
        line.update(first + len(part))
    return np.concatenate(found)


def _judged(predict: Callable, facts: dict, images: Source, test: Source) -> dict:
    right = predict(images.image) == images.label
    counts = np.bincount(images.label, minlength=test.num_classes)
    hits = np.bincount(images.label, right, minlength=test.num_classes)
    return {
        "classifier": facts,
        "agreement": float(right.mean()),
        "test_agreement": float((predict(test.image) == test.label).mean()),
        "agreement_per_class": [
            h / c if c else None for h, c in zip(hits.tolist(), counts, strict=True)
        ],
    }


def _spread(counts: np.ndarray) -> str:
    if len(counts) <= 20:
        return " ".join(f"{c:,}" for c in counts)
    return f"{counts.min():,} to {counts.max():,}, {(counts == 0).sum()} without any"
