"""Gradient norms of the easy and the hard training images of a network trained with noise.

    python -m jaxcert.gradient_norms --workdir runs/cifar10_gaussian
    python -m jaxcert.gradient_norms --workdir runs/cifar10_catrs --images 5000

Sun et al., "Average Certified Radius is a Poor Metric for Randomized Smoothing" (2024), Table
1: of which images does a method still learn? For each of --images training images (1000,
evenly over the set, as they are, without augmentation):

    p     share of 100 noisy copies that the network gives their label
    norm  l2 norm of the gradient, in all trainable parameters, of the method's own loss on
          that image alone: the mean over its m noises, with its attack, as at the run's last
          step; BatchNorm in inference mode

Easy images have p > 1/2, hard ones p < 1/2. In the paper Gaussian training has easy / hard of
0.45 and CAT-RS 4.28. It does not say which images and parameters it takes: expect its order
of methods, not its digits. The numbers and the rows go to gradient_norms.json in the workdir.
"""

from __future__ import annotations

import sys

from jaxcert import cli
from jaxcert.errors import at_least, exit_cleanly, own_file

OPTIONS: cli.Options = {
    "--images N": (1000, "training images to look at, evenly over the set"),
}


def main(argv: list[str] | None = None) -> int:
    args = cli.parse(argv, __doc__, OPTIONS, needs="workdir")
    at_least(1, **{"--images": args.images})
    from jaxcert.papers import gradient_norms

    path = own_file(args.workdir, "gradient_norms.json")
    found = gradient_norms.measure(args.config, args.workdir, images=args.images)
    gradient_norms.write(found, path)
    print(gradient_norms.table(found))
    print(f"wrote {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(exit_cleanly(main))
