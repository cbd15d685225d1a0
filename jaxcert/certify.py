"""Certify the test images of a trained network.

    python -m jaxcert.certify --workdir runs/quickstart
    python -m jaxcert.certify --workdir runs/rs --config.certify.n=10000 \\
        --config.certify.step=20 --out runs/rs/every_20th.jsonl

    python -m jaxcert.certify --workdir runs/rs --radii 0,0.25,0.5,0.75 \\
        --out runs/rs/radii.jsonl

The config is the workdir's own; `--config.certify...` changes the procedure or the images
(`split`, `start`, `stop`, `step`). --radii: a smoothed classifier's certified accuracy at
just these radii, by sequential tests that stop as soon as an image is decided, with the
guarantee of CERTIFY and a fraction of its samples; the interval certificate tries these
instead of certify.radii. What is certified at other radii such a record does not say; every
other certificate has the radius of every image. --config FILE[:row]: the certificate of
another config, such as those of configs/diffusion_classifier for an EDM. Rows are appended
batch by batch: the same command continues an interrupted run.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--config FILE[:ROW]": (
        None,
        "take the section certify of this config (default: that of the run)",
    ),
    "--radii R,R,...": (
        None,
        "certify at these radii alone, such as 0,0.25,36/255: a smoothed classifier by "
        "certify.procedure=radii, the interval certificate instead of certify.radii",
    ),
    "--part I/N": (
        "",
        "certify part I, from 1, of N parts of the images, into WORKDIR/certificates-I-of-N.jsonl; "
        "`python -m jaxcert.merge` joins the parts",
    ),
}


def main(argv: list[str] | None = None) -> int:
    args = cli.parse(
        argv, __doc__, OPTIONS, needs="workdir", record="certificates.jsonl"
    )
    from jaxcert.analysis import report
    from jaxcert.certificates import run

    run.certify(args.config, args.workdir, out=args.out, part=args.part)
    part = run.place(args.workdir, args.part) if args.part else None
    return report.show([args.out or part or args.workdir])


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
