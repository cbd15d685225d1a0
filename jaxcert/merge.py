"""Join the record files of parts of one request into one.

    python -m jaxcert.certify --workdir RUN --part 1/2
    python -m jaxcert.certify --workdir RUN --part 2/2
    python -m jaxcert.merge RUN/certificates-*-of-2.jsonl --out RUN/certificates.jsonl

The parts are of the same network, data and settings, and of different images. The record of all
parts I/N is that of a certification that was not divided; a part that is missing or not finished is
refused. Other parts are joined in the order given: the new file then has the requests of all, so
that a report says which of their images are missing.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly
from jaxcert.records import merge

OPTIONS: cli.Options = {"--out FILE": (str, "the new record file")}


def main(arguments: list[str] | None = None) -> None:
    parser = cli.Parser(__doc__, OPTIONS)
    parser.add_argument("parts", nargs="+", metavar="PART", help="record files")
    given = parser.parse_args(arguments)
    print(f"{given.out} holds {merge(given.parts, given.out):,} rows.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
