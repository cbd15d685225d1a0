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

import sys

from jaxcert import cli
from jaxcert.errors import exit_cleanly


def main(arguments: list[str] | None = None) -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--workdir", required=True, metavar="DIR", help="of a trained EDM")
    add("--out", required=True, metavar="FOLDER", help="of the shards")
    add("--count", required=True, type=int, help="images")
    add("--seed", type=int, default=0)
    add("--batch", type=int, default=0, help="images per call (0: by the device)")
    add("--steps", type=int, default=18, help="N; 2N - 1 evaluations (18)")
    add("--sigma-min", type=float, default=0.002)
    add("--sigma-max", type=float, default=80.0)
    add("--rho", type=float, default=7.0)
    add("--churn", type=float, default=0.0, help="S_churn (0: deterministic)")
    add("--churn-min", type=float, default=0.0, help="S_min")
    add("--churn-max", type=float, default=float("inf"), help="S_max")
    add("--churn-noise", type=float, default=1.0, help="S_noise")
    add(
        "--classifier",
        default="",
        metavar="DIR",
        help="sample without a class and let this classifier label the images",
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
