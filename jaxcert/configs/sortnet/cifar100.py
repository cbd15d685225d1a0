"""SortNet on CIFAR-100: Altstidl et al. (2023), Table 3 (without dropout, 3,000 epochs).

    python -m jaxcert.train --config configs/sortnet/cifar100.py:nodrop,1m \\
        --config.data.generated=generated/1m --workdir runs/sortnet_c100_1m

Rows as in configs/sortnet/cifar10.py; the normalisation is that of the code for
CIFAR-100. We have not run this width.
"""

from jaxcert.config import words
from jaxcert.configs.sortnet import cifar10

TABLE_3 = [(24.93, 9.20), (27.58, 17.28), (26.74, 16.69), (27.50, 17.25)]
WORDS, ROWS = cifar10.WORDS, cifar10.ROWS


def get_config(arg=""):
    config, row = cifar10.get_config(arg), words(arg, **WORDS)
    config.data.name = "cifar100"
    config.model.update(num_classes=100, mean=(0.5071, 0.4867, 0.4408), std=0.2667)
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    changed = row.radius == "2" or row.mlp or row.times == "2x" or row.narrow
    if row.nodrop and not changed:
        column = list(cifar10.COUNT).index(row.generated or "none")
        clean, certified = TABLE_3[column]
        config.reference.update(
            paper="Altstidl et al. 2023",
            table="3",
            radius=8 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny.model.num_classes = 10
    return config
