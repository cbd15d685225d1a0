"""Checks that the rows of a record are of the images of a data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.data.sources import Source
from jaxcert.errors import InputError


def data_digest(source: Source) -> str:
    """Return the digest of the labels, and of the images where reading them all takes
    less than a second."""
    digest = hashlib.sha256(np.ascontiguousarray(source.label))
    image = source.image
    if isinstance(image, np.ndarray) and image.nbytes < 2**28:
        digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()[:16]


def check_rows(rows: Certificates, source: Source, path: Path) -> None:
    """Raises InputError unless rows that a file already has are of these images."""
    size = len(source.label)
    inside = (rows.index >= 0) & (rows.index < size)
    label = source.label[np.where(inside, rows.index, 0)]
    wrong = np.flatnonzero(~inside | (label != rows.label))
    if len(wrong):
        at = int(wrong[0])
        raise InputError(
            f"{path}, line {at + 2} is of image {rows.index[at]} with label "
            f"{rows.label[at]}, which is not among the {size} of {source.name}: delete "
            "that line or name another file with --out of `python -m jaxcert.certify`."
        )
