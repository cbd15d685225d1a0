"""Reports on certificate records: read, measured, re-checked, compared and printed."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcert import records
from jaxcert.analysis import compare, configured, spreadsheet, table_settings, tables
from jaxcert.analysis import familywise as families
from jaxcert.analysis.facts import Entry, distinct
from jaxcert.analysis.latex import latex
from jaxcert.analysis.markdown import markdown
from jaxcert.analysis.metrics import summary
from jaxcert.analysis.recheck import Recheck
from jaxcert.analysis.table_settings import Stated
from jaxcert.certificate import ATTACKS, Certificates, certifies
from jaxcert.errors import InputError, is_stream, own_file, replacing

RECORD = "certificates.jsonl"


def report(
    paths: Sequence[str | Path], *, form: str = "text", **how: Any
) -> str | bytes:
    """Return the report on some records in one of `FORMS`: 'text', 'csv', 'html', 'latex',
    'markdown', 'tsv' (the table of locuslab/smoothing), and as bytes a figure. Arguments and
    errors as in `entries`."""
    return render(entries(paths, **how), form)


def show(
    paths: Sequence[str | Path],
    *,
    form: str | None = None,
    out: str | Path | None = None,
    **how: Any,
) -> int:
    """Print the report on some records, or write it to `out`, and return 0, the exit
    status.

    The report on one workdir as text is also written into it as report.html and report.csv.
    Other arguments as of `entries`. Raises InputError as `entries`, and, after all is written,
    if a radius exceeds its evidence.
    """
    if how.get("against") and str(form).startswith(("csv", "tsv")):
        raise InputError(f"--against draws curves, which {form} has not: leave it out.")
    found = entries(paths, **how)
    write(render(found, form or "text"), out)
    workdir = Path(paths[0])
    if len(found) == 1 and workdir.is_dir() and not (form or out):
        for each in ("html", "csv"):
            path = own_file(workdir, f"report.{each}")
            _replace(path, render(found, each))
            print(f"wrote {path}", file=sys.stderr)
    for entry, path in zip(found, paths, strict=True):
        fail_if_exceeding(entry.recheck, _file(path), entry.certificates)
    return 0


def entries(
    paths: Sequence[str | Path],
    *,
    radii: Sequence[float] | None = None,
    baseline: Sequence[str] = (),
    sigma: Stated = None,
    alpha: Stated = None,
    n: Stated = None,
    familywise: str | None = None,
    against: Sequence[str | Path] = (),
) -> list[Entry]:
    """Read, measure, re-check and compare records of one norm.

    radii: where to state certified accuracy; by default those of the runs' configs,
    else a usual grid of the norm. baseline: names of records to compare with, one per sigma;
    by default those that the method gaussian trained. sigma, alpha, n: of tables, which do
    not say them. familywise: 'bonferroni' or 'holm', if wanted with '=ALPHA', for radii that all
    hold together (familywise.py). against: records or tables, such as published logs, whose curves
    are drawn beside. Raises InputError if a record cannot be read, is empty, certifies in
    another norm than the first, contradicts the sigma, alpha or n that was given for it, or does
    not allow such radii.
    """
    names = _names(paths)
    certificates = [_load(path) for path in paths]
    sources = [_check_data(*one) for one in zip(paths, certificates, strict=True)]
    beside = list(zip(_names(against), map(_load, against), strict=True))
    given = dict(sigma=sigma, alpha=alpha, n=n)
    for key, value in given.items():
        if isinstance(value, Mapping):
            _check_names(f"--{key}", value, names)
    certificates = [
        table_settings.with_settings(*one, given)
        for one in zip(certificates, names, paths, strict=True)
    ]
    all_of_them = [*certificates, *(c for _, c in beside)]
    norms = list(dict.fromkeys(c.header.get("norm", "l2") for c in all_of_them))
    if len(norms) > 1:
        raise InputError(
            f"the records certify in {' and '.join(norms)}, whose radii do not compare: "
            "report them one at a time."
        )
    if len({c.labelled for c in all_of_them}) > 1:
        raise InputError(
            "some of the records have labels and others not, so that their shares are of other "
            "things: report them one at a time."
        )
    configs = [_config(*pair) for pair in zip(paths, certificates, strict=True)]
    if radii is None:
        named = zip(paths, configs, certificates, strict=True)
        radii = [r for one in named for r in configured.radii_of(*one)]
        radii = radii or configured.usual_radii(certificates)
    radii = distinct(radii)
    _check_names("--baseline", baseline, names)
    chosen = [names.index(name) for name in dict.fromkeys(baseline)]
    checks = [table_settings.recheck_with_settings(c) for c in certificates]
    if familywise is not None:
        family = families.parse(familywise)
        certificates = [families.together(c, family, radii[-1]) for c in certificates]
    differences = compare.against(names, certificates, radii, chosen)
    return [
        Entry(
            name=name,
            certificates=c,
            summary=summary(c, radii),
            recheck=check,
            reference=configured.reference(config) if c.labelled else None,
            against=difference,
            not_comparable=not_comparable,
            gradients=configured.gradients(path, c),
            source=source,
            metrics=configured.metrics_of(path),
            beside=beside,
        )
        for name, path, c, check, config, source, (difference, not_comparable) in zip(
            names,
            paths,
            certificates,
            checks,
            configs,
            sources,
            differences,
            strict=True,
        )
    ]


def render(found: Sequence[Entry], form: str) -> str | bytes:
    """Return entries in one of the forms of `report`; a figure as bytes."""
    return FORMS[form](found)


def _html(found: Sequence[Entry]) -> str:
    from jaxcert.analysis.page import page  # matplotlib takes a second to import

    return page(found)


def _figure(found: Sequence[Entry], *, form: str) -> bytes:
    """Return certified accuracy against radius as 'pdf', 'svg' or 'png'."""
    from jaxcert.analysis import figures

    records_of = [e.certificates for e in found]
    if not any(map(certifies, records_of)):
        raise InputError(
            f"{form} draws certified accuracy against radius, and no record has radii: take "
            "another --format."
        )
    names = [e.name for e in found]
    drawn = figures.draw_radius_curves(names, records_of, found[0].beside)
    return figures.as_bytes(*drawn, form)


def _tsv(found: Sequence[Entry]) -> str:
    if len(found) > 1:
        raise InputError("a tsv table holds one record: give one PATH.")
    return records.to_tsv(found[0].certificates)


FIGURES = ("pdf", "svg", "png")
FORMS: dict[str, Callable[[Sequence[Entry]], str | bytes]] = {
    "text": tables.text,
    "csv": spreadsheet.csv,
    "csv-classes": spreadsheet.csv_classes,
    "csv-votes": spreadsheet.csv_votes,
    "html": _html,
    "latex": latex,
    "markdown": markdown,
    "tsv": _tsv,
    **{form: functools.partial(_figure, form=form) for form in FIGURES},
}


_CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)"
"""Characters of names that a terminal would obey."""


def write(document: str | bytes, out: str | Path | None = None) -> None:
    """Write a document to a file, or to stdout without the characters that a terminal obeys.
    Raises InputError for a figure without a file."""
    if isinstance(document, bytes):
        if out is None:
            raise InputError("a figure is no text: name a file for it with --out.")
        _replace(Path(out), document)
        return
    document = re.sub(_CONTROL, lambda found: repr(found[0])[1:-1], document)
    if out:
        _replace(Path(out), document)
    else:
        sys.stdout.write(document)
        sys.stdout.flush()


def _replace(path: Path, document: str | bytes) -> None:
    """Write a file as a whole; until then the one that was there stays."""
    if isinstance(document, str):
        document = document.encode("utf-8", errors="backslashreplace")
    if is_stream(path):
        path.write_bytes(document)
        return
    with replacing(os.path.realpath(path)) as part:  # what a link leads to
        part.write_bytes(document)


def _file(path: str | Path) -> Path:
    path = Path(path)
    return path / RECORD if path.is_dir() else path


def _load(path: str | Path) -> Certificates:
    c = records.load(_file(path))
    if not len(c.index):
        raise InputError(f"{path} holds no certificate yet: finish `jaxcert.certify`.")
    if c.header.get("method") in ATTACKS:
        raise InputError(
            f"{path} holds attacks, not certificates: `jaxcert.attack` prints them."
        )
    return c


@functools.lru_cache(maxsize=4)
def _data_at_hand(name: str, split: str, dir: str, pad: int, resize: tuple):
    """Return (Source, its digest), or None where the data set is not on this machine."""
    from jaxcert.data import recorded, sources

    if name.startswith(("tfds:", "hf:")):  # opening it may prepare it
        return None
    try:
        how = dict(dir=dir, download=False, pad=pad, resize=resize, labels=False)
        source = sources.open(name, split, **how)
    except (InputError, OSError):
        return None
    return source, recorded.data_digest(source)


def _check_data(path: str | Path, c: Certificates):
    """Return the data set of a record, a Source, where that is at hand, else None. Raises
    InputError for a record of other images or labels."""
    config = _section(c.header, "config")
    data, certify = _section(config, "data"), _section(config, "certify")
    resize = data["resize"] if isinstance(data.get("resize"), list) else []
    asked = (
        data.get("name", c.header.get("dataset")),
        c.header.get("split", certify.get("split")),
        data["dir"] if type(data.get("dir")) is str else "",
        data["pad"] if type(data.get("pad")) is int else 0,
        tuple(resize) if all(type(x) is int for x in resize) else (),
    )
    if tuple(map(type, asked[:2])) != (str, str):
        return None
    found = _data_at_hand(*asked)
    if found is None:
        return None
    from jaxcert.data import recorded

    source, digest = found
    recorded.check_rows(c, source, _file(path))
    if digest != c.header.get("data_digest", digest):
        raise InputError(
            f"{_file(path)} has data_digest {c.header['data_digest']}, and that of "
            f"{source.name} here is {digest}: restore the file, or give it the data that it "
            "was made with."
        )
    return source


def _section(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = of.get(name)
    return found if isinstance(found, dict) else {}


def _check_names(option: str, given: Iterable[str], names: Sequence[str]) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InputError(
            f"{option} names {unknown[0]!r}, and the records are {', '.join(names)}: take "
            "one of these names."
        )


def _config(path: str | Path, c: Certificates) -> dict[str, Any]:
    """Return the config of the run: that in the record's header, else config.json of
    the workdir; {} without either."""
    if isinstance(c.header.get("config"), dict):
        return c.header["config"]
    if not (Path(path) / "config.json").is_file():
        return {}
    from jaxcert.config import read

    return read(path).to_dict()


_SUFFIXES = (".csv", ".json", ".jsonl", ".log", ".tab", ".tsv", ".txt")


def _names(paths: Sequence[str | Path]) -> list[str]:
    """Return the names by which a command line speaks of the records. Raises InputError
    for one that is given twice."""
    files = [os.path.realpath(_file(path)) for path in paths]
    for path, file in zip(paths, files, strict=True):
        if files.count(file) > 1:
            raise InputError(f"{path} is given twice: name each record once.")
    names = [_name(Path(os.path.realpath(path))) for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _name(path: Path) -> str:
    """Return the name of a path without the suffix of a file, which is not what follows
    the point of sigma_0.50."""
    if path.name == RECORD:
        return path.parent.name
    known = not path.is_dir() and path.suffix.lower() in _SUFFIXES
    return path.stem if known else path.name


def fail_if_exceeding(check: Recheck, file: Path, c: Certificates) -> None:
    failing = check.failing
    if not len(failing):
        return
    more = ", ..." if len(failing) > 5 else ""
    if c.header.get("format") == "tsv":
        # comments and blank lines may stand between its rows
        images = ", ".join(str(i) for i in c.index[failing[:5]])
        raise InputError(
            f"error: {len(failing)} radii exceed their evidence in {file}: correct what "
            f"--sigma, --alpha and --n say of it, or delete the lines of the images ({images}"
            f"{more})."
        )
    # a row at position i stands in line i + 2, below the header
    lines = ", ".join(str(i + 2) for i in failing[:5])
    raise InputError(
        f"error: {len(failing)} radii exceed their evidence in {file}: delete "
        f"those lines ({lines}{more}) and run jaxcert.certify again, or name another "
        "file with its --out."
    )
