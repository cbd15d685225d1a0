"""Generated images from one npz file into shuffled shards.

python -m jaxcert.convert --generated 1m.npz --out generated/1m
"""

from __future__ import annotations

import argparse
import sys

from jaxcert.data import write
from jaxcert.errors import exit_cleanly
from jaxcert.locks import only_writer


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        prog="python -m jaxcert.convert",
        description="Write the generated images of an npz file (`image` uint8 [M,H,W,C], "
        "`label`) as ArrayRecord shards in shuffled order, for --config.data.generated. "
        "The file is never read whole; an interrupted conversion continues.",
    )
    parser.add_argument("--generated", required=True, metavar="FILE.npz")
    parser.add_argument("--out", required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=0, help="of the order (default 0)")
    given = parser.parse_args(arguments)
    with only_writer(given.out, option="--out"):
        count = write.convert(given.generated, given.out, seed=given.seed)
    print(f"{given.out} holds {count:,} images.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
