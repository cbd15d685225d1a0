"""BRONet on CIFAR-100: Lai et al. (2025), BRONet-L with logit annealing; else as CIFAR-10.

    python -m jaxcert.train --config configs/bronet/cifar100.py --workdir runs/bronet_c100

Word after the colon: generated images none | 1m (none).
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
ROWS = ("none", "1m")


def get_config(arg=""):
    row = row_of(arg, {"generated": ROWS}).get("generated", "none")
    config = CIFAR10["get_config"]("none" if row == "none" else "4m")
    config.data.name = "cifar100"
    config.model.num_classes = 100
    if row == "none":
        config.reference.update(clean=54.3, certified=40.2)
    else:
        config.data.generated_count = 1_000_000
    config.tiny.model.num_classes = 10
    return config
