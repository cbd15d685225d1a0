"""Attack the test images of a trained Lipschitz network, and audit its certificates.

    python -m jaxcert.attack --workdir runs/sortnet
    python -m jaxcert.attack --workdir runs/liresnet --attack apgd --steps 200 \\
        --config.certify.stop=1000

The attack is, in the norm of the network, pgd or apgd (Auto-PGD), by default pgd for one of
l_inf (dist_net) and apgd for one of l2 (lip_convnet, liresnet); rays, which looks for the
nearest image of another class along lines; or rounding, which tries many roundings of an image
at the radius. It takes --steps steps (100) at every positive radius of certify.radii, on the
images that config.certify chooses; an image that a record of the workdir certifies is also
attacked just inside its own radius, so certify first. It searches in --dtype; what it finds is
always judged in float64, as certificates are. The rows (`distance`: of the nearest image found
in another class) go to attacks.jsonl, batch by batch; the same command continues an
interrupted run. Then every record of the workdir that belongs to the same checkpoint is
audited: a certified radius above a distance found is a bug, and the command ends with an
error.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--attack NAME": (
        None,
        "pgd, apgd, rays or rounding (default: pgd for a network of linf, apgd for one of "
        "l2)",
    ),
    "--steps N": (100, "steps of the attack at each radius"),
    "--dtype TYPE": (
        None,
        "float32 or float64, in which the attack searches (default: float64 for rounding)",
    ),
}


def main(argv: list[str] | None = None) -> int:
    args = cli.parse(argv, __doc__, OPTIONS, needs="workdir", record="attacks.jsonl")
    from jaxcert.attacks import audit

    attacks = audit.attack(
        args.config,
        args.workdir,
        name=args.attack,
        steps=args.steps,
        dtype=args.dtype,
        out=args.out,
    )
    held = audit.audit(args.workdir, attacks)
    print(audit.table(attacks, held, [float(r) for r in args.config.certify.radii]))
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
