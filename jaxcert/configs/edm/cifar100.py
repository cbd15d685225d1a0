"""EDM on CIFAR-100: the recipe of configs/edm/cifar10.py with 100 classes.

    python -m jaxcert.train --config configs/edm/cifar100.py:bf16 --workdir runs/edm_c100
    python -m jaxcert.generate --workdir runs/edm_c100 --out generated/c100 --count 1000000 \\
        --steps 25

The 25 steps are those of the sets of Wang et al. (2023), who train such a network; their FID
is 2.09. Rows as there. We have not run it.
"""

from jaxcert.configs.edm import cifar10

WORDS, ROWS = cifar10.WORDS, cifar10.ROWS


def get_config(arg=""):
    config = cifar10.get_config(arg)
    config.data.name = "cifar100"
    if config.model.num_classes:
        config.model.num_classes = 100
        config.tiny.model.num_classes = 10
    return config
