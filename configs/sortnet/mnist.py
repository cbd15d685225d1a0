"""SortNet on MNIST, Zhang et al. (2022): radii 0.1 and 0.3.

    python -m jaxcert.train --config configs/sortnet/mnist.py:0.3,laptop \\
        --workdir runs/sortnet_mnist

Words after the colon: 0.1 | 0.3 (0.3); laptop (width 256, 20 epochs; not run by us
yet). The best of the paper's logs: 99.01 clean, 98.14 certified at 0.1; 98.46 and 93.40
at 0.3.
"""

import runpy
from pathlib import Path

BEST = {"0.1": (99.01, 98.14), "0.3": (98.46, 93.40)}
KEEP, LAMBDA = {"0.1": 0.7, "0.3": 0.75}, {"0.1": (0.1, 0.001), "0.3": (0.02, 0.0002)}
CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
LINF_DIST = runpy.run_path(str(Path(__file__).parents[1] / "linf_dist" / "mnist.py"))
ROWS = LINF_DIST["ROWS"]


def get_config(arg=""):
    radius, laptop = LINF_DIST["words"](arg)
    config = CIFAR10["get_config"]("8")
    LINF_DIST["mnist"](config)
    first, last = LAMBDA[radius]
    config.model.rho = round(1 - KEEP[radius], 2)
    config.method.update(eps=LINF_DIST["EPS"][radius], lam=first, lam_end=last)
    LINF_DIST["marks"](config, (100, 1450, 1500), laptop)
    if not laptop:
        clean, certified = BEST[radius]
        config.reference.update(
            paper="Zhang et al. 2022",
            table="logs",
            radius=float(radius),
            clean=clean,
            certified=certified,
        )
    return config
