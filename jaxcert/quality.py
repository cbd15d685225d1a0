"""How good generated images are, beside the test images of the data set.

    python -m jaxcert.quality --generated generated/digits --data digits
    python -m jaxcert.quality --generated 1m.npz --data cifar10 --count 5000 \\
        --classifier runs/cifar10 --features inception:features

What is printed, for generated and for test images:

    Frechet distance    of their features to those of the training images: smaller is
                        better. Features are pixels unless --features names others, and
                        fewer images give a larger distance, so compare equal numbers.
    nearest training    median l2 distance to the nearest training image, pixels in
                        [0, 1]: far below that of test images means memorised images
    close               share nearer than the closest 1 % of test images: 1 % if as new
    copies, repeats     images equal to a training image; to an earlier one of the set
    classifier          share whose label a trained network of yours predicts (the network
                        itself, without noise), and its accuracy on test images

Numbers go to quality.json, some images of each class to images.png.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.data import sources
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--generated PATH": (
        str,
        "folder of shards, or npz file of image (uint8) and label",
    ),
    "--data NAME": (str, f"data set: {sources.NAMES}"),
    "--dir DIR": ("", "its archives (default: $JAXCERT_DATA or ~/.cache/jaxcert)"),
    "--pad SIDE": (0, "zero-pad the data set's images to this side; 0: as they are"),
    "--classifier WORKDIR": ("", "a trained classifier, which judges the labels"),
    "--features MODULE:FUNCTION": (
        "",
        "function of images uint8 [B,H,W,C] -> features [B,D] (default: the pixels)",
    ),
    "--count N": (10_000, "draw at most N generated and N test images; 0: all"),
    "--out FOLDER": (
        "",
        "for quality.json and images.png (default: <name>_quality beside the images)",
    ),
}


def main(argv: list[str] | None = None) -> None:
    options = vars(cli.Parser(__doc__, OPTIONS).parse_args(argv))
    cli.quiet()
    from jaxcert.papers import quality

    quality.show(options.pop("generated"), options.pop("data"), **options)


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
