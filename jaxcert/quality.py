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
    close               share nearer than the closest 1 % of the test images are: about
                        1 % for images as new as those
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


def main(argv: list[str] | None = None) -> int:
    parser = cli.Parser(__doc__)
    parser.add_argument(
        "--generated",
        required=True,
        metavar="PATH",
        help="folder of shards, or npz file with image (uint8) and label",
    )
    parser.add_argument(
        "--data", required=True, metavar="NAME", help=f"data set: {sources.NAMES}"
    )
    parser.add_argument(
        "--dir",
        default="",
        metavar="DIR",
        help="folder of the data set's archives (default: $JAXCERT_DATA or "
        "~/.cache/jaxcert)",
    )
    parser.add_argument(
        "--pad",
        type=int,
        default=0,
        metavar="SIDE",
        help="zero-pad the data set's images to this side; 0: as they are",
    )
    parser.add_argument(
        "--classifier",
        metavar="WORKDIR",
        help="folder of a trained classifier that judges the labels",
    )
    parser.add_argument(
        "--features",
        metavar="MODULE:FUNCTION",
        help="function of images uint8 [B,H,W,C] that returns features [B,D] (default: the pixels)",
    )
    parser.add_argument(
        "--count",
        type=int,
        default=10_000,
        metavar="N",
        help="draw at most N generated and N test images; 0: all",
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="where quality.json and images.png are written (default: <name>_quality beside "
        "the images)",
    )
    given = parser.parse_args(argv)
    cli.quiet()
    from jaxcert.papers import quality

    options = vars(given)
    path = options.pop("generated")
    found, out = quality.look(path, options.pop("data"), **options)
    print(
        f"{path} beside {found['data']}, {found['training_images']:,} training images\n"
    )
    print(quality.table(found))
    print(f"\nwrote {out / 'quality.json'} and {out / 'images.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
