"""Print what certificates say, with every radius re-checked against its evidence.

A PATH is a workdir with a certificates.jsonl, a record file, or a table of
locuslab/smoothing. For one workdir report.html and report.csv are written into it as
well. The exit status is not 0 if a radius exceeds its evidence.

Several records are compared at the images that all have: the best at each radius, and the
difference to Gaussian training at the same sigma. A table does not say sigma, alpha and n:
--sigma, --alpha and --n do. --study compares workdirs trained with and without generated
images instead.

examples:
  python -m jaxcert.report runs/lot
  python -m jaxcert.report runs/gaussian runs/macer --radii 0,0.25,0.5 --format html \\
      --out compared.html
  python -m jaxcert.report runs/lot --radii 0,36/255,72/255 --format csv
  python -m jaxcert.report gaussian.tsv macer.tsv --sigma 0.5 --alpha 0.001 --n 100000 \\
      --baseline gaussian --format latex
  python -m jaxcert.report --study runs/lot_* --format html --out study.html
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from jaxcert import cli
from jaxcert.analysis import report, table_settings
from jaxcert.errors import InputError, exit_cleanly


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    return exit_cleanly(lambda: _run(_parser().parse_args(argv)))


def _run(given: argparse.Namespace) -> int:
    radii = cli.parse_radii(given.radii) if given.radii else None
    how = dict(form=given.format, radii=radii, out=given.out)
    if not given.study:
        how["baseline"] = given.baseline.split(",") if given.baseline else ()
        how["familywise"] = given.familywise
        how |= {
            key: table_settings.parse(key, getattr(given, key))
            for key in table_settings.SETTINGS
        }
        return report.show(given.paths, **how)
    if unfit := [
        f"--{k}"
        for k in ("baseline", "familywise", *table_settings.SETTINGS)
        if getattr(given, k)
    ]:
        raise InputError(
            f"--study compares workdirs of its own accord: leave {unfit[0]} out."
        )
    from jaxcert.papers import study_report

    return study_report.show(given.paths, **how | {"form": given.format or "text"})


def _parser() -> argparse.ArgumentParser:
    parser = cli.Parser(__doc__)
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
    parser.add_argument(
        "--format",
        choices=list(report.FORMS),
        help="form of the report (default: text, and report.html and report.csv in the "
        "workdir of a single one)",
    )
    parser.add_argument(
        "--radii",
        metavar="R,R,...",
        help="state certified accuracy at these radii, such as 0,36/255,1 (default: those of the "
        "runs' configs)",
    )
    parser.add_argument(
        "--baseline",
        metavar="NAME[,NAME]",
        help="records to compare with, one per sigma; default: those of the method gaussian",
    )
    parser.add_argument(
        "--familywise",
        metavar="NAME[=ALPHA]",
        help="bonferroni or holm: radii from the same votes that are all true together with "
        "probability 1 - ALPHA (default: the alpha of the record)",
    )
    for key, what in table_settings.SETTINGS.items():
        parser.add_argument(
            f"--{key}",
            metavar="X|NAME=X[,NAME=X]",
            help=f"{what}, for tables, which do not say it",
        )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the report there (default: to the terminal)",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
