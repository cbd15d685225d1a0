"""Sample images of a trained EDM into shards, for --config.data.generated.

    python -m jaxcert.generate --workdir runs/edm --out generated/edm --count 5000

Classes are balanced: image i is of class i mod K, so every part of the set is balanced
too. Image i draws from fold_in(seed, i): another batch or device count changes no more than
the rounding of its pixels. The same command continues after kill -9 with the shard that was
being written. images.json in the folder says what the images are made of.

The defaults are the 18 steps, 35 evaluations, of Karras et al. (2022) for CIFAR-10. Theirs
for ImageNet-64: --steps 256 --churn 40 --churn-min 0.05 --churn-max 50 --churn-noise 1.003.
"""

from __future__ import annotations

import math
import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly


def main(arguments: list[str] | None = None) -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--workdir", required=True, metavar="DIR", help="folder of a trained EDM")
    add(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where the shards and images.json are written or continued",
    )
    whole = dict(type=int, metavar="N")
    add("--count", required=True, help="number of images in all", **whole)
    add("--seed", default=0, help="of all noise", **whole)
    add("--batch", default=0, help="images per call; 0: by the device", **whole)
    add("--steps", default=18, help="noise levels; 2N - 1 evaluations", **whole)
    number = dict(type=float, metavar="X")
    add("--sigma-min", default=0.002, help="lowest noise level above 0", **number)
    add("--sigma-max", default=80.0, help="highest noise level", **number)
    add("--rho", default=7.0, help="exponent of the spacing of the levels", **number)
    add("--churn", default=0.0, help="S_churn; 0: a deterministic sampler", **number)
    add("--churn-min", default=0.0, help="S_min: no churn below it", **number)
    add("--churn-max", default=math.inf, help="S_max: no churn above it", **number)
    add("--churn-noise", default=1.0, help="S_noise: scale of the new noise", **number)
    add(
        "--classifier",
        default="",
        metavar="DIR",
        help="folder of a trained classifier: sample without a class, and let it label the images",
    )
    given = parser.parse_args(arguments)
    cli.quiet()
    from jaxcert import image_generation

    count = image_generation.generate(
        given.workdir,
        given.out,
        count=given.count,
        seed=given.seed,
        steps=given.steps,
        sigma_min=given.sigma_min,
        sigma_max=given.sigma_max,
        rho=given.rho,
        churn=(given.churn, given.churn_min, given.churn_max, given.churn_noise),
        classifier=given.classifier,
        batch=given.batch,
    )
    print(f"{given.out} holds {count:,} images.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
