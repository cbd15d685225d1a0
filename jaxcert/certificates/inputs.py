"""Checks of images, labels and indices that all certificates share."""

from __future__ import annotations

import numpy as np

from jaxcert.certificate import NO_LABEL, Certificates
from jaxcert.errors import InputError
from jaxcert.interfaces import Certifier, Plan
from jaxcert.ops import images


def inside(inner: Certifier, **more) -> Certifier:
    """Return the certifier for images in [0, 1] alone, as trained networks take them;
    more: further fields of its header."""
    header = inner.header | more

    def certify(key, image, label, index, **how) -> Certificates:
        images.check_range(image)
        return inner.certify(key, image, label, index, **how)._replace(header=header)

    def plan(key, image) -> Plan:
        images.check_range(image)
        assert inner.plan is not None  # a certificate that samples has one
        return inner.plan(key, image)

    return inner._replace(settings=header, certify=certify, plan=plan)


def check_lengths(image, label, index) -> None:
    """Raises InputError unless there are as many images, labels and indices, and one at least."""
    if not len(image) == np.size(label) == len(index) > 0:
        raise InputError(
            f"{len(image)} images, {np.size(label)} labels and {len(index)} indices: give "
            "one label and one index for each of at least one image."
        )


def check_index(index) -> np.ndarray:
    """Return the indices, int64 [B]. Raises InputError for one outside 32 bits or one
    that comes twice: an index is folded into a key as 32 bits, and both would repeat
    noise."""
    index = np.asarray(index)
    whole = index.dtype.kind in "iu" or not index.size
    if not whole or index.size and (index.min() < 0 or index.max() >= 2**32):
        raise InputError(
            "an index must be a whole number from 0 to 2^32 - 1: it names the image's key."
        )
    if len(np.unique(index)) < index.size:
        raise InputError(
            "an index comes twice: it names the image's key, so give each image its own."
        )
    return index.astype(np.int64)


def check_label(label) -> None:
    """Raises InputError unless labels are whole numbers from 0 up, or -1 for none."""
    label = np.asarray(label)
    if label.dtype.kind not in "iu" or label.min() < NO_LABEL:
        raise InputError(
            "a label must be a whole number from 0 up: give the class, or -1 where it is not "
            "known."
        )
