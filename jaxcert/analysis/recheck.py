"""A second look at every radius: recomputed from the evidence in the record.

The certifier's own numbers are not trusted, only its evidence: vote counts (smoothing)
or logits (Lipschitz networks), and what the header says of the procedure.

The module of certificates/ that the header's method names re-checks what it wrote: its
`recheck(c, rows)` stands beside its `make` (certificates/rechecking.py says what it returns).
What no module here has made, as a certificate of somebody's own, is not re-checked.

A prediction without the evidence of its procedure does not hold: every certifier of the
library writes its evidence. Tables of locuslab/smoothing have none and are not re-checked.

Before the rows comes the header: what contradicts itself is refused (recheck_header.py).
This finds a wrong formula, a wrong row or a damaged file. It cannot tell whether votes
and logits are those of the network. docs/recheck.md lists what is seen and what is not.
"""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from jaxcert.analysis import recheck_header
from jaxcert.certificate import Certificates
from jaxcert.certificates.rechecking import Missing, Unknown

_ROWS = 1 << 14
"""How many rows have their evidence copied at a time; that of a million is gigabytes."""


class Recheck(NamedTuple):
    """checked: rows that were compared. failing: positions (not indices) of the rows that do
    not hold. proven: float64 [N], the radius that the evidence proves, nan where none was
    compared. reason: why no row could be compared with evidence, else empty. notes:
    sentences on what could not be checked, or is missing."""

    checked: int
    failing: np.ndarray
    proven: np.ndarray
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Return whether nothing contradicts the evidence; there may be none."""
        return not len(self.failing)

    def __repr__(self) -> str:
        held = f"{self.checked - len(self.failing):,} of {self.checked:,} rows hold"
        return f"Recheck({', '.join([held, *filter(None, [self.reason])])})"


def recheck(c: Certificates) -> Recheck:
    """Compare every row with what its evidence proves.

    Raises InputError if the header lacks what its evidence needs, or has nonsense
    there.
    """
    rows = np.flatnonzero(c.predicted >= 0)
    proven = np.full(len(c.index), np.nan)
    if c.header.get("format") == "tsv":
        lacks = (
            "evidence" if c.agreeing is None else "word on what its votes are to show"
        )
        return Recheck(0, rows[:0], proven, f"the table holds no {lacks}")
    recheck_header.check(c)
    notes, holds = recheck_header.notes(c), np.ones(len(rows), bool)
    try:
        certificate = _certificate(c.header.get("method"))
        with np.errstate(invalid="ignore", divide="ignore"):
            # one part at least, so that the header is looked at without rows as well
            for begin in range(0, max(len(rows), 1), _ROWS):
                part = slice(begin, begin + _ROWS)
                proven[rows[part]], holds[part] = certificate.recheck(c, rows[part])
    except Unknown as reason:
        return Recheck(0, rows[:0], proven, str(reason), tuple(notes))
    except Missing as reason:
        return Recheck(len(rows), rows, proven, str(reason))
    if hasattr(certificate, "notes"):
        notes += certificate.notes(c, rows)
    return Recheck(len(rows), rows[~holds], proven, notes=tuple(notes))


def why_not(c: Certificates) -> str:
    """Return why no row of a record can be compared with evidence; '' where rows can be."""
    arrays = {k: v for k, v in c._asdict().items() if isinstance(v, np.ndarray)}
    return recheck(c._replace(**{k: v[:0] for k, v in arrays.items()})).reason


def _certificate(method: Any) -> ModuleType:
    """The module of certificates/ that a header's method names. Raises Unknown where there is
    none, or none that re-checks what it wrote, and Missing where the header names none."""
    if not isinstance(method, str):
        raise Missing(f"its header has the method {method!r}")
    name = f"jaxcert.certificates.{method}"
    found = method.isidentifier() and importlib.util.find_spec(name)
    module = importlib.import_module(name) if found else None
    if not hasattr(module, "make") or not hasattr(module, "recheck"):
        raise Unknown(f"no re-check is known for the certificate {method!r}")
    return module
