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

OPTIONS: cli.Options = {
    "--generated FILE.npz": (str, "file with image and label"),
    "--out FOLDER": (str, "where the shards and images.json are written"),
    "--seed N": (0, "of the order of the images"),
}


def main(arguments: list[str] | None = None) -> None:
    given = cli.Parser(__doc__, OPTIONS).parse_args(arguments)
    with only_writer(given.out, option="--out"):
        count = write.convert(given.generated, given.out, seed=given.seed)
    print(f"{given.out} holds {count:,} images.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
