"""List networks that are trained and certified already, or unpack one into a workdir.

    python -m jaxcert.zoo
    python -m jaxcert.zoo lipnext-digits --workdir runs/lipnext
    python -m jaxcert.zoo https://example.org/networks#
    python -m jaxcert.zoo https://example.org/networks#mine --workdir runs/mine

Those of the package need no network. A folder, or the address of one on a web server, is a zoo
as well, where it has the index that jaxcert.api.sharing.add writes; what a server sends is kept in
$JAXCERT_CACHE, and compared with the checksums of the index. The shares are computed from the
records, of which every radius is re-checked against its evidence.

From Python, jaxcert.load("zoo:lipnext-digits") is the network.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import InputError, exit_cleanly

OPTIONS: cli.Options = {
    "--workdir DIR": (None, "unpack there (default: runs/NAME)"),
}


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__, OPTIONS)
    what = "a network of the package; PLACE#NAME: of a folder or a server, PLACE#: list these"
    parser.add_argument("network", nargs="?", default="", metavar="NAME", help=what)
    args = parser.parse_args(argv)
    cli.quiet()
    from jaxcert.api import sharing
    from jaxcert.zoos import networks, places

    place, name = places.split(args.network)
    if name:
        workdir = args.workdir or f"runs/{name}"
        network = networks.unpack(args.network, workdir)
        print(f"{workdir} has the network {network.digest} with its record.")
    elif args.workdir:
        raise InputError(
            "--workdir needs the name of a network: `jaxcert zoo` has them."
        )
    else:
        print(sharing.text(sharing.listed(place)))
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
