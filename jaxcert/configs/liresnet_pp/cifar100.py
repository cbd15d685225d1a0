"""LiResNet++ on CIFAR-100: Hu et al. (2024). All else is as on CIFAR-10.

    python -m jaxcert.train --config configs/liresnet_pp/cifar100.py:1m \\
        --config.data.generated=DIR/1m.npz --workdir runs/liresnet_pp_cifar100

Word after the colon: generated images none | 1m (none).
"""

from jaxcert.config import rows, words
from jaxcert.configs.liresnet_pp import cifar10

PAPER = {"none": (53.0, 40.2), "1m": (62.1, 50.1)}
WORDS = {"generated": tuple(PAPER)}
ROWS = rows(WORDS)


def get_config(arg=""):
    images = words(arg, **WORDS).generated or "none"
    config = cifar10.get_config("none" if images == "none" else "4m")
    config.data.name = "cifar100"
    config.model.num_classes = 100
    config.data.generated_count = 0 if images == "none" else 1_000_000
    clean, certified = PAPER[images]
    config.reference.update(clean=clean, certified=certified)
    config.tiny.model.num_classes = 10
    return config
