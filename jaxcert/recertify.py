"""Certify random images of a record again with fresh noise, and test what it claims.

    python -m jaxcert.recertify runs/theirs --images 20
    python -m jaxcert.recertify runs/theirs every_20th.jsonl --images 50 --n 10000 --seed 7

WORKDIR holds the network; RECORD is its certificates.jsonl by default. First every radius is
checked against its evidence; then the evidence is tested: fresh votes decide by a binomial test
whether the bounds that the record claims can be true. The p-value is that of all claims on the
chosen images together: if they are true, it is below 0.001 with probability at most 0.001. Below
that the exit status is 1. A deterministic certificate is computed again and compared.

This runs the library itself, unlike jaxcert.audit. The seed of images and noise is drawn anew
and printed; with the same --seed and --n the same comes out.
"""

from __future__ import annotations

from pathlib import Path

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {"--images K": (20, "images that are certified again")}


def main(argv: list[str] | None = None) -> int:
    """Return the exit status."""
    return exit_cleanly(lambda: _run(argv))


def _run(argv: list[str] | None) -> int:
    parser = cli.Parser(__doc__, OPTIONS)
    parser.add_argument("workdir", metavar="WORKDIR", help="folder of a trained run")
    what = "record file (default: WORKDIR/certificates.jsonl)"
    parser.add_argument("record", metavar="RECORD", nargs="?", help=what)
    what = "seed of the choice of images and of the noise (default: drawn anew)"
    parser.add_argument("--seed", type=int, metavar="S", help=what)
    what = "fresh votes of each image (default: those of the record)"
    parser.add_argument("--n", type=int, metavar="N", help=what)
    given = parser.parse_args(argv)
    cli.quiet()
    from jaxcert import records
    from jaxcert.analysis import recertified, recheck, report
    from jaxcert.certificates import recertifying

    path = Path(given.record or Path(given.workdir) / report.RECORD)
    c = records.load(path)
    checked = recheck.recheck(c)
    report.fail_if_exceeding(checked, path, c)
    found = recertifying.recertify(
        given.workdir, path, images=given.images, seed=given.seed, n=given.n
    )
    print(recertified.text(path, int((c.predicted >= 0).sum()), checked, found))
    return int(found.p < recertified.REFUTED)


if __name__ == "__main__":
    raise SystemExit(main())
