"""Record files: written, read, re-checked and reported on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxcert import records
from jaxcert.analysis import recheck as rechecks
from jaxcert.analysis import report
from jaxcert.certificate import Certificates
from jaxcert.errors import InputError, path_of

_FORMS = {
    "": None,
    ".txt": "text",
    ".csv": "csv",
    ".html": "html",
    ".tex": "latex",
    ".tsv": "tsv",
    ".md": "markdown",
    ".pdf": "pdf",
    ".svg": "svg",
    ".png": "png",
}
"""Suffix of a file -> the form of the report in it."""


def write_records(path: str | Path, certificates: Certificates) -> None:
    """Write certificates with their evidence into a new record file (docs/records.md).

    The file is there when all rows are in it, and not before. Raises InputError for one that is
    there and not empty (`jaxcert.records.Writer` appends) and for rows that `open_records` would
    refuse.
    """
    path, certificates = path_of(path, "path"), _known(certificates)
    records.save(path, certificates.header, [certificates])


def open_records(path: str | Path) -> Certificates:
    """Return the certificates of a record file, of a workdir (its certificates.jsonl), or of a
    table of locuslab/smoothing, whose radii are kept as printed.

    A last line that was cut off is left out. Raises InputError naming file, line and fault.
    """
    path = path_of(path, "path")
    return records.load(path / report.RECORD if path.is_dir() else path)


def recheck(certificates: Certificates) -> rechecks.Recheck:
    """Return what the evidence of each row proves: votes for smoothing, logits and constants
    for Lipschitz networks. No network is needed, and none of the code that certified runs.

    `holds`: no radius exceeds what its evidence proves; `failing`: positions of rows that do;
    `proven`: float64 [N], the radii that it proves, nan where none was compared; `reason`: why
    no row could be compared, else empty; `notes`: sentences on what is not seen. It finds a
    wrong formula or a changed row, and cannot tell whether votes and logits are the network's.
    Raises InputError for a header that contradicts itself.
    """
    return rechecks.recheck(_known(certificates))


def _known(certificates: Certificates) -> Certificates:
    """Raises InputError for what is none, such as a path."""
    if isinstance(certificates, Certificates):
        return certificates
    raise InputError(
        f"certificates must be those of certify_images or open_records, not "
        f"{type(certificates).__name__}."
    )


def write_report(
    paths: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    form: str | None = None,
    radii: Sequence[float] | None = None,
    baseline: Sequence[str] = (),
    sigma: float | Mapping[str, float] | None = None,
    alpha: float | Mapping[str, float] | None = None,
    n: float | Mapping[str, float] | None = None,
    familywise: str | None = None,
    against: Sequence[str | Path] = (),
) -> None:
    """Write a report on one or several records, every radius re-checked, to a file or, without
    `out`, to the terminal. Several are compared at the images that all have.

    paths: record files, workdirs, or tables of locuslab/smoothing.
    form: text | csv | csv-classes | csv-votes | html | latex | markdown | tsv, or a figure of
        certified accuracy against radius: pdf | svg | png; by default what the suffix of `out`
        says, without one text.
    radii: where to state certified accuracy, in the scale of [0, 1].
    baseline: names of the records to compare with, one for each sigma.
    sigma, alpha, n: of tables, which do not say them: one number, or one for each name.
    familywise: bonferroni | holm, or with its alpha as holm=0.05: radii from the same votes that
        are all true together, with probability 1 - alpha.
    against: records or tables, such as published logs, whose curves are drawn beside.

    Raises InputError for records that cannot be read or compared and, when all is written, for
    a radius that exceeds its evidence.
    """
    if form is not None and form not in report.FORMS:
        raise InputError(
            f"form must be one of {', '.join(report.FORMS)}, not {form!r}."
        )
    if form in report.FIGURES and out is None:
        raise InputError(f"form {form!r} is a figure and no text: give out, its file.")
    paths = list(paths) if isinstance(paths, list | tuple) else [paths]
    if not paths:
        raise InputError("paths is empty: give at least one record file.")
    paths = [path_of(path, "paths") for path in paths]
    suffix = "" if out is None else path_of(out, "out").suffix.lower()
    if form is None and suffix not in _FORMS:
        raise InputError(
            f"out has the suffix {suffix!r}: give one of {', '.join(filter(None, _FORMS))}, or "
            "say by form what is to be written."
        )
    report.show(
        paths,
        form=form or _FORMS[suffix],
        out=out,
        radii=radii,
        baseline=baseline,
        sigma=sigma,
        alpha=alpha,
        n=n,
        familywise=familywise,
        against=against,
    )
