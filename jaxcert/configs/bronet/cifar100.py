"""BRONet on CIFAR-100: Lai et al. (2025), BRONet-L with logit annealing; else as CIFAR-10.

    python -m jaxcert.train --config configs/bronet/cifar100.py --workdir runs/bronet_c100

Word after the colon: generated images none | 1m (none).
"""

from jaxcert.config import rows, words
from jaxcert.configs.bronet import cifar10

WORDS = {"generated": ("none", "1m")}
ROWS = rows(WORDS)


def get_config(arg=""):
    generated = words(arg, **WORDS).generated == "1m"
    config = cifar10.get_config("4m" if generated else "none")
    config.data.name = "cifar100"
    config.model.num_classes = 100
    if generated:
        config.data.generated_count = 1_000_000
    else:
        config.reference.update(clean=54.3, certified=40.2)
    config.tiny.model.num_classes = 10
    return config
