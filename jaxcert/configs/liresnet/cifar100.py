"""GloroNet (LiResNet) on CIFAR-100: Altstidl et al. (2023), Table 3, L18W256, 800 epochs.

    python -m jaxcert.train --config configs/liresnet/cifar100.py:5m \\
        --config.data.generated=DIR/5m.npz --workdir runs/gloro_cifar100

Word after the colon: generated images none | 1m | 5m | 10m (none). All else is as on
CIFAR-10.
"""

from jaxcert.config import rows, words
from jaxcert.configs.liresnet import cifar10

TABLE_3 = {
    "none": (51.57, 36.41),
    "1m": (51.78, 38.54),
    "5m": (51.81, 38.66),
    "10m": (51.71, 38.90),
}
WORDS = {"generated": tuple(TABLE_3)}
ROWS = rows(WORDS)


def get_config(arg=""):
    generated = words(arg, **WORDS).generated or "none"
    config = cifar10.get_config(f"l,800,{generated}")
    config.data.name = "cifar100"
    config.model.num_classes = 100
    clean, certified = TABLE_3[generated]
    config.reference.update(table="3", clean=clean, certified=certified)
    config.tiny.model.num_classes = 10
    return config
