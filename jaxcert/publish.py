"""Put a trained and certified network into a folder that others can take it from.

    python -m jaxcert.publish --workdir runs/quickstart --zoo shared/networks --name lot-digits

The folder gets the weights, the config and the record of the network, an index with their
checksums (`jaxcert zoo FOLDER#NAME` reads it), and README.md, the card of its networks: what is
certified, how it was trained, and how to check it. What you write around that in README.md stays.
Every radius is re-checked first, and a record that is unfinished or of another network is
refused. Folders of this machine are left out of all files; look at the rest before you hand them
out.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--workdir DIR": (str, "folder of a trained run with its record"),
    "--zoo FOLDER": (str, "folder to put it into, which is made if it is not there"),
    "--name NAME": (str, "what it is called there, such as lot-digits"),
    "--record FILE": ("", "its record (default: certificates.jsonl of the workdir)"),
}


def main(arguments: list[str] | None = None) -> None:
    given = cli.Parser(__doc__, OPTIONS).parse_args(arguments)
    cli.quiet()
    from jaxcert.api import cards

    added = cards.publish(
        given.workdir, given.zoo, given.name, record=given.record or None
    )
    print(f"{given.zoo} has {added.name}, {added.size:,} bytes; its card is README.md.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
