"""Print what certificates say: `python -m jaxcert.report PATH [PATH ...]`.

A PATH is a workdir with a certificates.jsonl, a record file, or a table of
locuslab/smoothing. For one workdir report.html and report.csv are written into it as
well. Every radius is re-checked against the evidence of its record; the exit status is
not 0 if one exceeds it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert import records
from jaxcert.analysis import tables
from jaxcert.analysis.metrics import ATTACKS, summary
from jaxcert.analysis.recheck import recheck
from jaxcert.analysis.tables import Entry, Reference
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.records import Certificates

RECORD = "certificates.jsonl"

_EXAMPLE = """\
examples:
  python -m jaxcert.report runs/lot
  python -m jaxcert.report runs/gaussian runs/macer --radii 0,0.25,0.5 --format html \\
      --out compared.html
  python -m jaxcert.report runs/lot --radii 0,36/255,72/255 --format csv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = _parser()
    return exit_cleanly(lambda: _run(parser.parse_args(argv)))


def report(
    paths: Sequence[str | Path],
    *,
    radii: Sequence[float] | None = None,
    form: str = "text",
) -> str:
    """The report on some records as 'text', 'csv', 'html' or 'tsv' (the table of
    locuslab/smoothing). Arguments and errors as in `entries`."""
    return render(entries(paths, radii=radii), form)


def entries(
    paths: Sequence[str | Path], *, radii: Sequence[float] | None = None
) -> list[Entry]:
    """Read, measure and re-check records of one norm.

    radii: where to state certified accuracy; by default those of the runs' configs,
    else a usual grid of the norm. Raises InputError if a record cannot be read, is
    empty or certifies in another norm than the first.
    """
    certificates = [_load(path) for path in paths]
    norms = list(dict.fromkeys(c.header.get("norm", "l2") for c in certificates))
    if len(norms) > 1:
        raise InputError(
            f"the records certify in {' and '.join(norms)}, whose radii do not compare: "
            "report them one at a time."
        )
    configs = [_config(*pair) for pair in zip(paths, certificates, strict=True)]
    if radii is None:
        named = zip(paths, configs, certificates, strict=True)
        radii = [r for one in named for r in _configured_radii(*one)]
        radii = radii or _usual_radii(certificates)
    radii = np.unique(np.asarray(radii, np.float64))
    return [
        Entry(
            name=name,
            certificates=c,
            summary=summary(c, radii),
            recheck=recheck(c),
            reference=_reference(config),
        )
        for name, c, config in zip(_names(paths), certificates, configs, strict=True)
    ]


def render(found: Sequence[Entry], form: str) -> str:
    """Entries in one of the forms of `report`."""
    return _FORMS[form](found)


def _html(found: Sequence[Entry]) -> str:
    from jaxcert.analysis.page import page  # matplotlib takes a second to import

    return page(found)


def _tsv(found: Sequence[Entry]) -> str:
    if len(found) > 1:
        raise InputError("a tsv table holds one record: give one PATH.")
    return records.to_tsv(found[0].certificates)


_FORMS: dict[str, Callable[[Sequence[Entry]], str]] = {
    "text": tables.text,
    "csv": tables.csv,
    "html": _html,
    "tsv": _tsv,
}


def _run(options: argparse.Namespace) -> None:
    radii = _parse_radii(options.radii) if options.radii else None
    found = entries(options.paths, radii=radii)
    document = render(found, options.format or "text")
    if options.out:
        Path(options.out).write_text(document, encoding="utf-8")
    else:
        sys.stdout.write(document)
        sys.stdout.flush()
    workdir = Path(options.paths[0])
    if len(found) == 1 and workdir.is_dir() and not (options.format or options.out):
        for form in ("html", "csv"):
            path = workdir / f"report.{form}"
            path.write_text(render(found, form), encoding="utf-8")
            print(f"wrote {path}", file=sys.stderr)
    _fail_if_exceeding(found, options.paths)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jaxcert.report",
        description="Certified accuracy of one or more certificate records, with every "
        "radius re-checked against its evidence. For one workdir, report.html and "
        "report.csv are written into it as well.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="workdir, record file, or table of locuslab/smoothing",
    )
    parser.add_argument("--format", choices=list(_FORMS), help="default: text")
    parser.add_argument(
        "--radii", help="comma-separated, fractions allowed: 0,36/255,1"
    )
    parser.add_argument(
        "--out", metavar="FILE", help="write there, not to the terminal"
    )
    return parser


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


def _config(path: str | Path, c: Certificates) -> dict[str, Any]:
    """Of the run: in the record's header, else config.json of the workdir; {} without."""
    if isinstance(c.header.get("config"), dict):
        return c.header["config"]
    if not (Path(path) / "config.json").is_file():
        return {}
    from jaxcert.config import read

    return read(path).to_dict()


def _names(paths: Sequence[str | Path]) -> list[str]:
    names = [_name(Path(path).resolve()) for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _name(path: Path) -> str:
    if path.name == RECORD:
        return path.parent.name
    return path.name if path.is_dir() else path.stem


def _reference(config: dict[str, Any]) -> Reference | None:
    """`reference` of a config: paper, table, clean and, at `radius`, certified accuracy in
    percent."""
    given = config.get("reference") or {}
    certified = {}
    try:
        if not isinstance(given, dict):
            raise TypeError
        if given.get("clean"):
            certified[0.0] = float(given["clean"]) / 100
        if given.get("certified"):
            certified[float(given["radius"])] = float(given["certified"]) / 100
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"the config's reference is {given}: clean, certified and radius must be "
            "numbers, correct them there."
        ) from None
    if not certified:
        return None
    table = [f"Table {given['table']}"] if given.get("table") else []
    return Reference(", ".join([str(given.get("paper", "")), *table]), certified)


def _configured_radii(
    path: str | Path, config: dict[str, Any], c: Certificates
) -> list[float]:
    radii: list[float] = []
    for section in (config.get("certify"), c.header.get("procedure")):
        given = section.get("radii") if isinstance(section, dict) else None
        given = () if given is None else given
        if not isinstance(given, list | tuple) or not all(map(_is_radius, given)):
            raise InputError(
                f"{path} names radii in its config that are no numbers from 0 up: give "
                "others with --radii."
            )
        radii += given
    return radii


def _is_radius(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= sys.float_info.max


def _usual_radii(certificates: Sequence[Certificates]) -> list[float]:
    """Of the literature: smoothing 0, 0.25, ...; l2 0, 36/255, ...; linf 0, 1/255,
    2/255, 4/255, ..."""
    largest = max(float(c.radius.max()) for c in certificates)
    header = certificates[0].header
    if header.get("norm") == "linf":
        grid = [0.0, *(2**i / 255 for i in range(8))]
    elif header.get("sigma") or header.get("method") == "smoothing":
        grid = [0.25 * i for i in range(21)]
    else:
        return [0.0, 36 / 255, 72 / 255, 108 / 255, 1.0]
    return [r for r in grid if r <= largest] or [0.0]


def _parse_radii(text: str) -> list[float]:
    radii = []
    for part in text.split(","):
        try:
            above, _, below = part.partition("/")
            radius = float(above) / float(below or 1)
        except (ValueError, ZeroDivisionError):
            radius = math.nan
        if not 0 <= radius < math.inf:
            raise InputError(
                f"--radii has {part.strip()!r}: give numbers from 0 up, such as "
                "0,0.25,36/255."
            )
        radii.append(radius)
    return radii


def _fail_if_exceeding(found: Sequence[Entry], paths: Sequence[str]) -> None:
    for entry, path in zip(found, paths, strict=True):
        failing = entry.recheck.failing
        if not len(failing):
            continue
        # a row at position i stands in line i + 2, below the header
        lines = ", ".join(str(i + 2) for i in failing[:5])
        more = ", ..." if len(failing) > 5 else ""
        raise InputError(
            f"error: {len(failing)} radii exceed their evidence in {_file(path)}: delete "
            f"those lines ({lines}{more}) and run jaxcert.certify again, or name another "
            "file with its --out."
        )


if __name__ == "__main__":
    raise SystemExit(main())
