"""Join the record files of parts of one request into one.

    python -m jaxcert.certify --workdir RUN --out a.jsonl --config.certify.stop=5000
    python -m jaxcert.certify --workdir RUN --out b.jsonl --config.certify.start=5000
    python -m jaxcert.merge a.jsonl b.jsonl --out certificates.jsonl

The parts are of the same network, data and settings, and of different images. The new file has
the requests of all, so that a report says which of their images are missing.
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
