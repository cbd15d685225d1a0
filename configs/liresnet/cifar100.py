"""GloroNet (LiResNet) on CIFAR-100: Altstidl et al. (2023), Table 3, L18W256, 800 epochs.

    python -m jaxcert.train --config configs/liresnet/cifar100.py:5m \\
        --config.data.generated=DIR/5m.npz --workdir runs/gloro_cifar100

Word after the colon: generated images none | 1m | 5m | 10m (none). All else as CIFAR-10.
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
TABLE_3 = {
    "none": (51.57, 36.41),
    "1m": (51.78, 38.54),
    "5m": (51.81, 38.66),
    "10m": (51.71, 38.90),
}
ROWS = tuple(TABLE_3)


def get_config(arg=""):
    row = row_of(arg, {"generated": ROWS}).get("generated", "none")
    config = CIFAR10["get_config"](f"l,800,{row}")
    config.data.name = "cifar100"
    config.model.num_classes = 100
    clean, certified = TABLE_3[row]
    config.reference.update(table="3", clean=clean, certified=certified)
    config.tiny.model.num_classes = 10
    return config
