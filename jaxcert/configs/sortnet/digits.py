"""SortNet on the 8x8 digits: the whole schedule in a minute or two on a CPU.

    python -m jaxcert.train --config configs/sortnet/digits.py --workdir runs/sortnet_digits

Words after the colon: sortnet | linf_dist | hybrid (sortnet).
"""

from jaxcert.config import rows, words
from jaxcert.configs.linf_dist import cifar10 as linf_dist
from jaxcert.configs.linf_dist.digits import digits
from jaxcert.configs.sortnet import cifar10 as sortnet

WORDS = {"network": ("sortnet", "linf_dist", "hybrid")}
ROWS = rows(WORDS)


def get_config(arg=""):
    network = words(arg, **WORDS).network
    cifar10 = linf_dist if network == "linf_dist" else sortnet
    config = cifar10.get_config("8,mlp" if network == "hybrid" else "8")
    digits(config)
    return config
