"""Write the weights of a trained network into a file that others can read and check.

    python -m jaxcert.export --workdir runs/quickstart --out quickstart.safetensors
    python -m jaxcert.audit_network quickstart.safetensors runs/quickstart

The file has the arrays as they were trained, and as metadata all that makes them a network:
the model with shape and normalisation of its images, and the digest that records of its
certificates name. The suffix .npz writes the same for numpy alone. From Python,
`jaxcert.load(FILE)` reads it. model_manifest.json beside it lists the networks of its folder
with the SHA-256 of each, in the names of CTRAIN's manifest.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--out FILE": (
        None,
        "safetensors or npz file to write (default: WORKDIR/weights.safetensors)",
    ),
}


def main(argv: list[str] | None = None) -> None:
    args = cli.parse(argv, __doc__, OPTIONS, needs="workdir")
    from jaxcert.workdirs import weights

    out = args.out or Path(args.workdir) / "weights.safetensors"
    entry = weights.export(args.config, args.workdir, out)
    print(f"{out} has the network {entry['digest']}; sha256 {entry['sha256']}.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
