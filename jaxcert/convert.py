"""Write the generated images of an npz file as shards in shuffled order.

    python -m jaxcert.convert --generated 1m.npz --out generated/1m

The file holds `image`, uint8 [M,H,W,C], and `label`; the shards are ArrayRecord files for
--config.data.generated. The file is never read whole; an interrupted conversion continues.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.data import write
from jaxcert.errors import exit_cleanly
from jaxcert.locks import only_writer


def main(arguments: list[str] | None = None) -> None:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--generated",
        required=True,
        metavar="FILE.npz",
        help="file with image and label",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where the shards and images.json are written",
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the order of the images"
    )
    given = parser.parse_args(arguments)
    with only_writer(given.out, option="--out"):
        count = write.convert(given.generated, given.out, seed=given.seed)
    print(f"{given.out} holds {count:,} images.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
