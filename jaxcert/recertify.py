"""Certify random images of a record again with fresh noise, and test what it claims.

    python -m jaxcert.recertify runs/theirs --images 20
    python -m jaxcert.recertify runs/theirs every_20th.jsonl --images 50 --n 10000 --seed 7

WORKDIR holds the network; RECORD is its certificates.jsonl by default. First every radius is
checked against its evidence; then the evidence is tested: fresh votes decide by a binomial test
whether the bounds that the record claims can be true. The p-value is that of all claims on the
chosen images together: if they are true, it is below 0.001 once in a thousand times. Below that
the exit status is 1. A deterministic certificate is computed again and compared.

This runs the library itself, unlike jaxcert.audit. The seed of images and noise is drawn anew
and printed; with the same --seed and --n the same comes out.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {"--images K": (20, "images that are certified again")}
REFUTED = 0.001
"""The p-value below which the claims of a record are taken for false."""
_SHOWN = 5


def main(argv: list[str] | None = None) -> int:
    """Return the exit status."""
    return exit_cleanly(lambda: _run(argv))


def _run(argv: list[str] | None) -> int:
    parser = cli.Parser(__doc__, OPTIONS)
    parser.add_argument("workdir", metavar="WORKDIR", help="folder of a trained run")
    what = "record file (default: WORKDIR/certificates.jsonl)"
    parser.add_argument("record", metavar="RECORD", nargs="?", help=what)
    what = "of the images and the noise (default: drawn anew)"
    parser.add_argument("--seed", type=int, metavar="S", help=what)
    what = "fresh votes of each image (default: those of the record)"
    parser.add_argument("--n", type=int, metavar="N", help=what)
    given = parser.parse_args(argv)
    cli.quiet()
    from jaxcert import records
    from jaxcert.analysis import recheck, report
    from jaxcert.certificates import recertifying

    path = Path(given.record or Path(given.workdir) / report.RECORD)
    c = records.load(path)
    checked = recheck.recheck(c)
    report.fail_if_exceeding(checked, path, c)
    found = recertifying.recertify(
        given.workdir, path, images=given.images, seed=given.seed, n=given.n
    )
    print(text(path, int((c.predicted >= 0).sum()), checked, found))
    return int(found.p < REFUTED)


def text(path: Path, with_class: int, checked, found) -> str:
    """Return what came of it, as lines for people."""
    lines = [
        str(path),
        f"  arithmetic: {checked.checked:,} predictions and radii follow",
    ]
    lines[1] += " from the evidence in the record"
    if checked.reason:
        lines[1] = f"  arithmetic: not checked: {checked.reason}"
    again = (
        f"  certified again: {len(found.index):,} of {with_class:,} images with a class"
    )
    again += f", {found.n:,} fresh votes each" if found.n else ""
    lines.append(f"{again}, seed {found.seed}")
    worst = np.argsort(found.p_value, kind="stable")
    if found.n:
        lines.append(f"  p-value of all claims on them: {found.p:.3g}")
    else:
        lines.append(f"  otherwise than the record: {(found.p_value == 0).sum():,}")
    for i in worst[found.p_value[worst] < 1][:_SHOWN]:
        value = f"p-value {found.p_value[i]:.3g}; " if found.n else ""
        named = f"image {found.index[i]}, class {found.predicted[i]}"
        line = f"{named}: {value}{found.said[i]}"
        indents = dict(initial_indent="    ", subsequent_indent="      ")
        lines += textwrap.wrap(line, 100, **indents)
    reached = "sampling" if found.n else "network, computed by the library itself"
    said = "the record claims more than is true"
    if found.p >= REFUTED:
        said = "nothing contradicts the record"
    return "\n".join([*lines, f"  level reached: {reached}; {said}"])


if __name__ == "__main__":
    raise SystemExit(main())
