"""LiResNet++ on CIFAR-100: Hu et al. (2024). All else as CIFAR-10.

    python -m jaxcert.train --config configs/liresnet_pp/cifar100.py:1m \\
        --config.data.generated=DIR/1m.npz --workdir runs/liresnet_pp_cifar100

Word after the colon: generated images none | 1m (none).
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
PAPER = {"none": (53.0, 40.2), "1m": (62.1, 50.1)}
ROWS = tuple(PAPER)


def get_config(arg=""):
    row = row_of(arg, {"generated": ROWS}).get("generated", "none")
    config = CIFAR10["get_config"]("none" if row == "none" else "4m")
    config.data.name = "cifar100"
    config.model.num_classes = 100
    config.data.generated_count = 0 if row == "none" else 1_000_000
    clean, certified = PAPER[row]
    config.reference.update(clean=clean, certified=certified)
    config.tiny.model.num_classes = 10
    return config
