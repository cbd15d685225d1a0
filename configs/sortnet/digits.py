"""SortNet on the 8x8 digits: the whole schedule in a minute or two on a CPU.

    python -m jaxcert.train --config configs/sortnet/digits.py --workdir runs/sortnet_digits

Words after the colon: sortnet | linf_dist | hybrid (sortnet).
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

CIFAR10 = Path(__file__).with_name("cifar10.py")
LINF_DIST = Path(__file__).parents[1] / "linf_dist" / "cifar10.py"
ROWS = ("sortnet", "linf_dist", "hybrid")


def get_config(arg=""):
    arg = row_of(arg, {"network": ROWS}).get("network", "sortnet")
    file = LINF_DIST if arg == "linf_dist" else CIFAR10
    config = runpy.run_path(str(file))["get_config"]("8,mlp" * (arg == "hybrid") or "8")
    config.model.update(
        image_shape=(8, 8, 1), depth=4, width=192, mean=(0.3,), std=0.37
    )
    if arg == "hybrid":
        config.model.hidden = 32
    config.method.update(eps=0.15, p_start=4.0, p_end=36.0)
    config.method.eps_end = 10.0 if arg == "hybrid" else 0.0
    config.data.update(name="digits", batch=100, epochs=40, epoch_images=1000)
    config.data.augment.update(crop=0, flip=False)
    config.checkpoint.every_epochs = 10
    config.certify.radii = (0.0, 0.05, 0.1, 0.15, 0.2)
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    return config
