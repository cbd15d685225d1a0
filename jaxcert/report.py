"""Print what certificates say, with every radius re-checked against its evidence.

A PATH is a workdir, a record file, or a table of locuslab/smoothing. For one workdir
report.html and report.csv are written into it. The exit status is not 0 if a radius exceeds
its evidence. Of several records the best at each radius is shown, at the images that all have,
and the difference to Gaussian training at the same sigma.

  python -m jaxcert.report runs/lot --radii 0,36/255,72/255 --format csv
  python -m jaxcert.report gaussian.tsv macer.tsv --sigma 0.5 --format latex --out both.tex
  python -m jaxcert.report runs/rs --against cohen.tsv --format pdf --out curves.pdf
  python -m jaxcert.report --study runs/lot_* --format html --out study.html
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.analysis import report, table_settings
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--study": (False, "compare workdirs trained with and without generated images"),
    "--radii R,R,...": (
        None,
        "state the shares at these radii, such as 0,36/255,1 (default: those of the configs)",
    ),
    "--baseline NAME[,NAME]": (
        (),
        "records to compare with, one per sigma (default: those of the method gaussian)",
    ),
    "--familywise NAME[=ALPHA]": (
        None,
        "bonferroni or holm: radii from the same votes that are all true together with "
        "probability 1 - ALPHA (default: the alpha of the record)",
    ),
    "--against FILE[,FILE]": (
        (),
        "draw the curves of these records or tables beside, such as published logs",
    ),
    **table_settings.OPTIONS,
    "--out FILE": (None, "write the report there (default: to the terminal)"),
}


def main(argv: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = cli.Parser(__doc__, OPTIONS)
    what = "workdir, record file, or table of locuslab/smoothing"
    parser.add_argument("paths", nargs="+", metavar="PATH", help=what)
    what = "form of the report (default: text; report.html and report.csv in a workdir)"
    parser.add_argument("--format", dest="form", choices=list(report.FORMS), help=what)
    return exit_cleanly(lambda: _run(**vars(parser.parse_args(argv))))


def _run(paths, radii, study, **how) -> int:
    how["radii"] = None if radii is None else cli.parse_radii(radii)
    how |= {key: table_settings.parse(key, how[key]) for key in table_settings.SETTINGS}
    if study:
        from jaxcert.papers import study_report

        status = study_report.show(paths, **how)
    else:
        status = report.show(paths, **how)
    if how["out"]:
        print(f"wrote {how['out']}", file=sys.stderr)
    return status


if __name__ == "__main__":
    raise SystemExit(main())
