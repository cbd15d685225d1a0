"""Print what certificates say: `python -m jaxcert.report PATH [PATH ...]`.

A PATH is a workdir with a certificates.jsonl, a record file, or a table of
locuslab/smoothing. For one workdir report.html and report.csv are written into it as
well. Every radius is re-checked against the evidence of its record; the exit status is
not 0 if one exceeds it.

Several records are compared at the images that all have: the best at each radius, and the
difference to Gaussian training at the same sigma. A table does not say sigma, alpha and n:
--sigma, --alpha and --n do. --study compares workdirs trained with and without generated
images instead: analysis/study.py.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcert import cohen_table, records
from jaxcert.analysis import compare, spreadsheet, tables
from jaxcert.analysis import study as studies
from jaxcert.analysis.latex import latex
from jaxcert.analysis.metrics import ATTACKS, certifies, summary
from jaxcert.analysis.recheck import Recheck, recheck
from jaxcert.analysis.study_runs import TEST, TRAIN, Run, read
from jaxcert.analysis.tables import Entry, Reference
from jaxcert.certificates import statistics
from jaxcert.cli import parse_radii
from jaxcert.errors import InputError, exit_cleanly
from jaxcert.records import Certificates

RECORD = "certificates.jsonl"

Told = float | Mapping[str, float] | None
"""What tables do not say: a number for all of them, or by name."""

_EXAMPLE = """\
examples:
  python -m jaxcert.report runs/lot
  python -m jaxcert.report runs/gaussian runs/macer --radii 0,0.25,0.5 --format html \\
      --out compared.html
  python -m jaxcert.report runs/lot --radii 0,36/255,72/255 --format csv
  python -m jaxcert.report gaussian.tsv macer.tsv --sigma 0.5 --alpha 0.001 --n 100000 \\
      --baseline gaussian --format latex
  python -m jaxcert.report --study runs/lot_* --format html --out study.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = _parser()
    return exit_cleanly(lambda: _run(parser.parse_args(argv)))


def report(paths: Sequence[str | Path], *, form: str = "text", **how: Any) -> str:
    """The report on some records as 'text', 'csv', 'html', 'latex' or 'tsv' (the table of
    locuslab/smoothing). Arguments and errors as in `entries`."""
    return render(entries(paths, **how), form)


def entries(
    paths: Sequence[str | Path],
    *,
    radii: Sequence[float] | None = None,
    baseline: Sequence[str] = (),
    sigma: Told = None,
    alpha: Told = None,
    n: Told = None,
) -> list[Entry]:
    """Read, measure, re-check and compare records of one norm.

    radii: where to state certified accuracy; by default those of the runs' configs,
    else a usual grid of the norm. baseline: names of records to compare with, one per sigma;
    by default those that the method gaussian trained. sigma, alpha, n: of tables, which do
    not say them. Raises InputError if a record cannot be read, is empty, certifies in another
    norm than the first, or contradicts what was told.
    """
    names = _names(paths)
    certificates = [_load(path) for path in paths]
    for path, c in zip(paths, certificates, strict=True):
        _check_data(path, c)
    given = dict(sigma=sigma, alpha=alpha, n=n)
    for key, value in given.items():
        if isinstance(value, Mapping):
            _check_names(f"--{key}", value, names)
    certificates = [
        _tell(*one, given) for one in zip(certificates, names, paths, strict=True)
    ]
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
    _check_names("--baseline", baseline, names)
    chosen = [names.index(name) for name in dict.fromkeys(baseline)]
    against = compare.against(names, certificates, radii, chosen)
    return [
        Entry(
            name=name,
            certificates=c,
            summary=summary(c, radii),
            recheck=_recheck(c),
            reference=_reference(config),
            against=difference,
            apart=apart,
            gradients=_gradients(path, c),
        )
        for name, path, c, config, (difference, apart) in zip(
            names, paths, certificates, configs, against, strict=True
        )
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
    "csv": spreadsheet.csv,
    "csv-classes": spreadsheet.csv_classes,
    "csv-votes": spreadsheet.csv_votes,
    "html": _html,
    "latex": latex,
    "tsv": _tsv,
}


def study(
    workdirs: Sequence[str | Path],
    *,
    form: str = "text",
    radii: Sequence[float] | None = None,
) -> str:
    """The report on runs with and without generated images, as 'text', 'csv', 'html' or
    'latex'. radii as in `entries`. Raises InputError as `analysis.study_runs.read` and
    `analysis.study.make`."""
    return _study_text(_runs(workdirs), form, radii)


def _runs(workdirs: Sequence[str | Path]) -> list[Run]:
    runs = map(read, workdirs)
    return [run._replace(reference=_reference(run.config)) for run in runs]


def _study_text(runs: Sequence[Run], form: str, radii: Sequence[float] | None) -> str:
    from jaxcert.analysis import study_page  # matplotlib takes a second to import

    forms = dict(
        text=study_page.text,
        csv=study_page.csv,
        html=study_page.html,
        latex=study_page.latex,
    )
    if form not in forms:
        raise InputError(f"a study has no format {form}: take {', '.join(forms)}.")
    found = []
    for group in studies.groups(runs):
        own: list[float] = list(radii or ())
        for run in group if radii is None else ():
            own += _configured_radii(run.name, run.config, run.test)
        own = own or _usual_radii([run.test for run in group])
        found.append(studies.make(group, own))
    return forms[form](found)


def _run_study(options: argparse.Namespace, radii: Sequence[float] | None) -> None:
    if unfit := [f"--{k}" for k in ("baseline", *_TOLD) if getattr(options, k)]:
        raise InputError(
            f"--study compares workdirs of its own accord: leave {unfit[0]} out."
        )
    runs = _runs(options.paths)
    _write(_study_text(runs, options.format or "text", radii), options)
    for run in runs:
        for split, name in (("test", TEST), ("train", TRAIN)):
            if (c := getattr(run, split)) is not None:
                _fail_if_exceeding(_recheck(c), Path(run.name) / name)


def _run(options: argparse.Namespace) -> None:
    radii = parse_radii(options.radii) if options.radii else None
    if options.study:
        return _run_study(options, radii)
    found = entries(
        options.paths,
        radii=radii,
        baseline=options.baseline.split(",") if options.baseline else (),
        **{key: _parse_told(key, getattr(options, key)) for key in _TOLD},
    )
    _write(render(found, options.format or "text"), options)
    workdir = Path(options.paths[0])
    if len(found) == 1 and workdir.is_dir() and not (options.format or options.out):
        for form in ("html", "csv"):
            path = workdir / f"report.{form}"
            path.write_text(render(found, form), encoding="utf-8")
            print(f"wrote {path}", file=sys.stderr)
    for entry, path in zip(found, options.paths, strict=True):
        _fail_if_exceeding(entry.recheck, _file(path))


def _write(document: str, options: argparse.Namespace) -> None:
    if options.out:
        Path(options.out).write_text(document, encoding="utf-8")
    else:
        sys.stdout.write(document)
        sys.stdout.flush()


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
    parser.add_argument(
        "--study",
        action="store_true",
        help="compare workdirs trained with and without generated images",
    )
    parser.add_argument("--format", choices=list(_FORMS), help="default: text")
    parser.add_argument(
        "--radii", help="comma-separated, fractions allowed: 0,36/255,1"
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME[,NAME]",
        help="records to compare with, one per sigma; default: those of the method gaussian",
    )
    for key, what in _TOLD.items():
        parser.add_argument(
            f"--{key}",
            metavar="X|NAME=X[,NAME=X]",
            help=f"{what}, for tables, which do not say it",
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


_TOLD = {
    "sigma": "noise in pixels of [0, 1]",
    "alpha": "probability of a false certificate",
    "n": "samples per image",
}


def _parse_told(key: str, text: str | None) -> Told:
    """`0.5`, or `a=0.25,b=0.5`."""
    if text is None:
        return None
    told: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = part.rpartition("=")
        if name.strip() in told:
            raise InputError(
                f"--{key} has two numbers for {name.strip() or 'all tables'}: leave one."
            )
        try:
            if "_" in value:  # Python reads 1_0 as 10
                raise ValueError
            told[name.strip()] = float(value)
        except ValueError:
            raise InputError(
                f"--{key} has {part.strip()!r}: give one number for all tables, or "
                "NAME=NUMBER for each, with commas between."
            ) from None
    if "" in told and len(told) > 1:
        raise InputError(
            f"--{key} has a number for all tables and others by name: give one or the other."
        )
    return told.get("", told)


def _tell(
    c: Certificates, name: str, path: str | Path, given: dict[str, Told]
) -> Certificates:
    """The record with what is given of it; only tables can be told anything."""
    told = {}
    for key, value in given.items():
        named = isinstance(value, Mapping)
        value = value.get(name) if named else value
        if value is None:
            continue
        if named and (c.header.get("format") != "tsv" or key == "n" and c.n.any()):
            raise InputError(
                f"{path} states its own {key}: leave {name} out of --{key}."
            )
        _check_told(key, value)
        told[key] = value
    if c.header.get("format") != "tsv":
        return c
    header = c.header | {k: told[k] for k in ("sigma", "alpha") if k in told}
    if "n" in told and not c.n.any():
        c = c._replace(n=np.full(len(c.index), int(told["n"])))
    if cohen_table.predicts(c):
        header["procedure"] = dict(name="predict")
    elif c.n.any():
        same = (c.n == c.n[0]).all()
        header["procedure"] = dict(
            name="certify" if same else "unknown procedure", n=int(c.n.max())
        )
    if certifies(c._replace(header=header)) and not tables.untold(header):
        sigma, alpha, n = header["sigma"], header["alpha"], int(c.n.max())
        largest = statistics.max_radius(n, alpha, sigma)
        if c.radius.max() > largest * 1.005:  # three digits, rounded to nearest
            raise InputError(
                f"{path} has the radius {c.radius.max():g}, and sigma {sigma:g}, alpha "
                f"{alpha:g} and n {n} reach {largest:.3g}: correct what --sigma, --alpha and "
                "--n say of it."
            )
    return c._replace(header=header)


def _check_told(key: str, value: float) -> None:
    fits = {"sigma": True, "alpha": value < 1, "n": value % 1 == 0}[key]
    if not (0 < value < 1e18 and fits):
        raise InputError(
            f"--{key} {value:g} is no {_TOLD[key]}: give such as "
            f"{dict(sigma='0.5', alpha='0.001', n='100000')[key]}."
        )


@functools.lru_cache(maxsize=4)
def _data_at_hand(name: str, split: str, dir: str, pad: int):
    """(Source, its digest), or None where the data set is not on this machine."""
    from jaxcert.certify import data_digest
    from jaxcert.data import sources

    if name.startswith("tfds:"):  # opening it may prepare it
        return None
    try:
        source = sources.open(name, split, dir=dir, download=False, pad=pad)
    except (InputError, OSError):
        return None
    return source, data_digest(source)


def _check_data(path: str | Path, c: Certificates) -> None:
    """Raises InputError for a record of other images or labels than those of its data set,
    where that is at hand."""
    config = c.header.get("config")
    data = config.get("data") if isinstance(config, dict) else None
    if not isinstance(data, dict) or "data_digest" not in c.header:
        return
    asked = data.get("name"), c.header.get("split"), data.get("dir"), data.get("pad")
    if tuple(map(type, asked)) != (str, str, str, int):
        return
    found = _data_at_hand(*asked)
    if found is None:
        return
    from jaxcert.certify import check_rows

    source, digest = found
    check_rows(c, source, _file(path))
    if digest != c.header["data_digest"]:
        raise InputError(
            f"{_file(path)} has data_digest {c.header['data_digest']}, and that of "
            f"{source.name} here is {digest}: restore the file, or give it the data that it "
            "was made with."
        )


def _recheck(c: Certificates) -> Recheck:
    """Of a table with votes as well, once it is known what they were to show."""
    if c.header.get("format") != "tsv" or c.agreeing is None:
        return recheck(c)
    if unknown := tables.untold(c.header):
        reason = f"the table has votes and does not say {' or '.join(unknown)}"
        return recheck(c)._replace(reason=reason)
    if c.header["procedure"]["name"] != "certify":
        reason = "n differs between its images, which that of CERTIFY does not"
        return recheck(c)._replace(reason=reason)
    classes = np.arange(1 + max(c.label.max(), c.predicted.max()))
    counts = c.agreeing * (classes == c.predicted[:, None])
    header = c.header | {"format": records.FORMAT}
    return recheck(c._replace(counts=counts, header=header))


def _check_names(option: str, given: Iterable[str], names: Sequence[str]) -> None:
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InputError(
            f"{option} names {unknown[0]!r}, and the records are {', '.join(names)}: take "
            "one of these names."
        )


def _config(path: str | Path, c: Certificates) -> dict[str, Any]:
    """Of the run: in the record's header, else config.json of the workdir; {} without."""
    if isinstance(c.header.get("config"), dict):
        return c.header["config"]
    if not (Path(path) / "config.json").is_file():
        return {}
    from jaxcert.config import read

    return read(path).to_dict()


def _gradients(path: str | Path, c: Certificates) -> dict[str, Any] | None:
    """gradient_norms.json of the workdir; None without it, or if it is of another
    checkpoint."""
    path = Path(path)
    file = (path if path.is_dir() else path.parent) / "gradient_norms.json"
    if not file.is_file():
        return None
    try:
        found = json.loads(file.read_text())
        same = found["checkpoint"] == c.header.get("checkpoint")
        numbers = [found["ratio"], found["ratio_error"]]
        numbers += [found[kind][key] for kind in _KINDS for key in ("images", "mean")]
        if not all(n is None or isinstance(n, int | float) for n in numbers):
            raise TypeError
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f"{file} is not what jaxcert.gradient_norms writes: run it again, or delete it."
        ) from None
    return found if same else None


_KINDS = ("easy", "hard")


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


def _fail_if_exceeding(check: Recheck, file: Path) -> None:
    failing = check.failing
    if not len(failing):
        return
    # a row at position i stands in line i + 2, below the header
    lines = ", ".join(str(i + 2) for i in failing[:5])
    more = ", ..." if len(failing) > 5 else ""
    raise InputError(
        f"error: {len(failing)} radii exceed their evidence in {file}: delete "
        f"those lines ({lines}{more}) and run jaxcert.certify again, or name another "
        "file with its --out."
    )


if __name__ == "__main__":
    raise SystemExit(main())
