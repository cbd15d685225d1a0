"""The images of a record that are worth a look, and the training of its network, for a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from functools import partial
from html import escape
from typing import Any

import matplotlib.image
import numpy as np

from jaxcert.analysis.facts import Entry, class_name, radius_text
from jaxcert.certificate import NO_LABEL, Certificates, certifies

_SHOWN = 10
"""How many images stand in a row."""
_SIDE = 96
"""The largest side of an image on a page, in pixels."""


def extremes(c: Certificates) -> dict[str, np.ndarray]:
    """Return positions of rows, at most ten under each title: those with the largest and those
    with the smallest radius above 0 of the correct images (of all, where there is no label), and
    those certified for a wrong class, the largest radius first. Titles without a row are left
    out."""
    unknown = c.label == NO_LABEL
    certified = (c.radius > 0) & (c.predicted >= 0)
    rows = np.argsort(-c.radius, kind="stable")
    right = rows[(certified & (c.correct | unknown))[rows]]
    wrong = rows[(certified & ~c.correct & ~unknown)[rows]]
    found = {
        "Largest radii": right[:_SHOWN],
        "Smallest radii": right[_SHOWN:][::-1][:_SHOWN],
        "Certified for a wrong class": wrong[:_SHOWN],
    }
    return {title: some for title, some in found.items() if len(some)}


def gallery(entry: Entry) -> list[str]:
    """Return the section of these images as parts of a page; [] without radii, without the data
    set, or where no image is certified."""
    c = entry.certificates
    name = partial(class_name, entry)
    found = extremes(c) if entry.source is not None and certifies(c) else {}
    parts = []
    for title, rows in found.items():
        # a source that is not in memory takes rising positions
        order = np.argsort(c.index[rows], kind="stable")
        images = np.empty(len(rows), object)
        taken = np.asarray(entry.source.image[c.index[rows[order]]])
        for place, image in zip(order, taken, strict=True):
            images[place] = image
        shown = (_shown(*one, c, name) for one in zip(images, rows, strict=True))
        parts.append(f'<h3>{title}</h3>\n<div class="images">{"".join(shown)}</div>')
    if not parts:
        return []
    unlabelled = (c.label == NO_LABEL).all()
    what = (
        "Below each image its position in the data set, the class that it is certified for"
        f"{'' if unlabelled else ', its own class where that is another one,'} and its radius."
    )
    return ["<h2>Images</h2>", f'<p class="soft">{what}</p>', *parts]


def _shown(
    image: np.ndarray, row: int, c: Certificates, name: Callable[[int], str]
) -> str:
    """Return one image with what is known of it as HTML. name: what a class is called."""
    label, predicted = int(c.label[row]), int(c.predicted[row])
    words = name(predicted)
    words = f"class {words}" if words.isdigit() else words
    if label not in (predicted, NO_LABEL):
        words = f"{name(predicted)}, is {name(label)}"
    text = f"image {c.index[row]}: {words}"
    radius = radius_text(float(f"{c.radius[row]:.3g}"))
    return (
        f'<figure><img alt="{escape(text)}" src="data:image/png;base64,{_png(image)}">'
        f"<figcaption>{c.index[row]}<br>{escape(words)}<br>r {radius}</figcaption></figure>"
    )


def _png(image: np.ndarray) -> str:
    """Return an image [H,W,C], uint8 or floats in [0, 1], as a PNG in base64; a large one is
    shrunk by means of squares of pixels."""
    pixels = image.astype(np.float64) / (255 if image.dtype == np.uint8 else 1)
    by = -(-max(pixels.shape[:2]) // _SIDE)
    height, width = (size // by * by for size in pixels.shape[:2])
    pixels = pixels[:height, :width].reshape(height // by, by, width // by, by, -1)
    pixels = pixels.mean((1, 3))
    if pixels.shape[-1] != 3:
        pixels = np.repeat(pixels[..., :1], 3, -1)
    file = io.BytesIO()
    whole = np.round(255 * pixels).clip(0, 255).astype(np.uint8)
    matplotlib.image.imsave(file, whole, format="png", metadata={"Software": None})
    return base64.b64encode(file.getvalue()).decode()


def training_lines(
    lines: Sequence[dict[str, Any]],
) -> dict[str, dict[str, tuple[list[float], list[float]]]]:
    """Return {split: {name: (epochs, values)}} of the lines of metrics.jsonl: what has two
    numbers or more of losses, accuracies and certified shares."""
    found: dict[str, dict[str, tuple[list[float], list[float]]]] = {}
    for line in lines:
        for name, value in line.items():
            if not name.startswith(("loss", "accuracy", "certified_")):
                continue
            if type(value) not in (int, float) or not np.isfinite(value):
                continue
            split = found.setdefault(str(line["split"]), {})
            epochs, values = split.setdefault(name, ([], []))
            epochs.append(line["epoch"])
            values.append(float(value))
    kept = {
        split: {name: pair for name, pair in names.items() if len(pair[0]) > 1}
        for split, names in found.items()
    }
    return {split: names for split, names in kept.items() if names}
