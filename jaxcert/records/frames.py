"""Certificates as a table of pandas."""

from __future__ import annotations

from typing import Any

import numpy as np

from jaxcert.certificate import Certificates
from jaxcert.errors import InputError


def to_frame(certificates: Certificates) -> Any:
    """Return a pandas.DataFrame with a row for each image: the columns of a record, and
    `correct`. The header is in its `attrs["header"]`.

    Evidence of several numbers is a column each: `counts_0`, `counts_1`, ... Raises InputError
    where pandas is not installed.
    """
    try:
        import pandas  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(
            "records.to_frame needs the package pandas: pip install pandas."
        ) from None
    columns = {}
    for name, column in certificates._asdict().items():
        if column is None or name == "header":
            continue
        if column.ndim == 1:
            columns[name] = column
        else:
            for i, part in enumerate(np.moveaxis(column, 1, 0)):
                columns[f"{name}_{i}"] = part
    frame = pandas.DataFrame(columns | {"correct": certificates.correct})
    frame.attrs["header"] = certificates.header
    return frame
