"""SortNet on MNIST, Zhang et al. (2022): radii 0.1 and 0.3.

    python -m jaxcert.train --config configs/sortnet/mnist.py:0.3,laptop \\
        --workdir runs/sortnet_mnist

Words after the colon: 0.1 | 0.3 (0.3); laptop (width 256, 30 epochs, larger lam and lr: the
paper's take longer than that to leave the start). The best of the paper's logs: 99.01 clean,
98.14 certified at 0.1; 98.46 and 93.40 at 0.3.
"""

import runpy
from pathlib import Path

BEST = {"0.1": (99.01, 98.14), "0.3": (98.46, 93.40)}
KEEP, LAMBDA = {"0.1": 0.7, "0.3": 0.75}, {"0.1": (0.1, 0.001), "0.3": (0.02, 0.0002)}
CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
LINF_DIST = runpy.run_path(str(Path(__file__).parents[1] / "linf_dist" / "mnist.py"))
WORDS, ROWS = LINF_DIST["WORDS"], LINF_DIST["ROWS"]


def get_config(arg=""):
    radius, laptop = LINF_DIST["words"](arg)
    config = CIFAR10["get_config"]("8")
    LINF_DIST["mnist"](config)
    first, last = LAMBDA[radius]
    config.model.rho = round(1 - KEEP[radius], 2)
    config.method.update(eps=LINF_DIST["EPS"][radius], lam=first, lam_end=last)
    if laptop:
        LINF_DIST["laptop"](config, (8, 28, 30))
        config.method.update(lam=0.2, lam_end=0.002)
        config.optim.lr = 0.03
    else:
        LINF_DIST["marks"](config, (100, 1450, 1500))
        clean, certified = BEST[radius]
        config.reference.update(
            paper="Zhang et al. 2022",
            table="logs",
            radius=float(radius),
            clean=clean,
            certified=certified,
        )
    return config
