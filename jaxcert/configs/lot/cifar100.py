"""LOT on CIFAR-100: Altstidl et al. (2023), Table 3 (size l at 200 epochs, cosine).

    python -m jaxcert.train --config configs/lot/cifar100.py:l --workdir runs/lot_c100

Rows as in configs/lot/cifar10.py. The head is last-layer normalised, and the input is
scaled with the constants of CIFAR-10, both as in LOT's code.
"""

from jaxcert.config import words
from jaxcert.configs.lot import cifar10

CERTIFIED = [(46.60, 32.92), (50.52, 36.50), (50.68, 36.56), (50.59, 36.22)]
WORDS, ROWS = cifar10.WORDS, cifar10.ROWS


def get_config(arg=""):
    config = cifar10.get_config(arg)
    row = words(arg, **WORDS)
    config.data.name = "cifar100"
    config.model.update(num_classes=100, head="lln")
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    changed = row.multistep or row.narrow or row.fast or row.budget
    if row.size == "l" and row.epochs in ("", "200") and not changed:
        column = list(cifar10.COUNT).index(row.generated or "none")
        clean, certified = CERTIFIED[column]
        config.reference.update(
            paper="Altstidl et al. 2023",
            table="3",
            radius=36 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny.model.num_classes = 10
    return config
