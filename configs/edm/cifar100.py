"""EDM on CIFAR-100: the recipe of configs/edm/cifar10.py with 100 classes.

    python -m jaxcert.train --config configs/edm/cifar100.py:bf16 --workdir runs/edm_c100

Rows as there. Wang et al. (2023) train such a network; their FID is 2.09. Not run by us.
"""

import runpy
from pathlib import Path

CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
WORDS, ROWS = CIFAR10["WORDS"], CIFAR10["ROWS"]


def get_config(arg=""):
    config = CIFAR10["get_config"](arg)
    config.data.name = "cifar100"
    if config.model.num_classes:
        config.model.num_classes = 100
        config.tiny.model.num_classes = 10
    return config
