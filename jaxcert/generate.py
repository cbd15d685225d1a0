"""Sample images of a trained EDM into shards, for --config.data.generated.

    python -m jaxcert.generate --workdir runs/edm --out generated/edm --count 5000

Classes are balanced: image i is of class i mod K, so every part of the set is balanced
too. Image i draws from fold_in(seed, i): another batch or device count changes no more than
the rounding of its pixels. The same command continues after kill -9 with the shard that was
being written. images.json in the folder says what the images are made of.

The defaults are the 18 steps, 35 evaluations, of Karras et al. (2022) for CIFAR-10. The sets
of Wang et al. (2023) have --steps 20 on CIFAR-10 and --steps 25 on CIFAR-100. Karras et al.
for ImageNet-64: --steps 256 --churn 40 --churn-min 0.05 --churn-max 50 --churn-noise 1.003.
"""

from __future__ import annotations

import math
import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly

OPTIONS: cli.Options = {
    "--workdir DIR": (str, "folder of a trained EDM"),
    "--out FOLDER": (str, "where the shards and images.json are written or continued"),
    "--count N": (int, "number of images in all"),
    "--seed N": (0, "of all noise"),
    "--batch N": (0, "images per call; 0: by the device"),
    "--steps N": (18, "noise levels; 2N - 1 evaluations"),
    "--sigma-min X": (0.002, "lowest noise level above 0"),
    "--sigma-max X": (80.0, "highest noise level"),
    "--rho X": (7.0, "exponent of the spacing of the levels"),
    "--churn X": (0.0, "S_churn; 0: a deterministic sampler"),
    "--churn-min X": (0.0, "S_min: no churn below it"),
    "--churn-max X": (math.inf, "S_max: no churn above it"),
    "--churn-noise X": (1.0, "S_noise: scale of the new noise"),
    "--classifier DIR": (
        "",
        "folder of a trained classifier: sample without a class, and let it label the images",
    ),
}


def main(arguments: list[str] | None = None) -> None:
    options = vars(cli.Parser(__doc__, OPTIONS).parse_args(arguments))
    cli.quiet()
    from jaxcert import image_generation

    names = "churn", "churn_min", "churn_max", "churn_noise"
    churn = tuple(options.pop(name) for name in names)
    count = image_generation.generate(churn=churn, **options)
    print(f"{options['out']} holds {count:,} images.")


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
