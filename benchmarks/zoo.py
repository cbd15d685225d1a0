"""Put the network of a workdir into a zoo, by default that of the package.

    python -m benchmarks.zoo runs/lipnext_digits --name lipnext-digits

The record of the workdir is re-checked first, and all three files are listed with their checksums
in model_manifest.json. `jaxcert zoo` lists the network from then on.
"""

from __future__ import annotations

import argparse
import sys

from jaxcert.api import sharing
from jaxcert.errors import exit_cleanly
from jaxcert.zoos import places


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir")
    parser.add_argument("--name", required=True, help="such as lipnext-digits")
    parser.add_argument("--record", help="(default: its certificates.jsonl)")
    parser.add_argument(
        "--zoo", default=places.OWN, help="folder (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    added = sharing.add(args.workdir, args.zoo, args.name, record=args.record)
    print(f"{args.zoo} has {added.name}, {added.size:,} bytes.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
