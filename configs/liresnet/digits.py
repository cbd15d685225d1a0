"""LiResNet on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/liresnet/digits.py --workdir runs/liresnet

Words after the colon: gloro | trades | emma_fixed | emma (emma_fixed), annealing (logit
annealing on the logits of emma). Two power steps in training.
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
LOSSES = ("emma_fixed", "gloro", "trades", "emma")
ROWS = (*LOSSES, "annealing")


def get_config(arg=""):
    row = row_of(arg, {"loss": ROWS}).get("loss", "emma_fixed")
    config = CIFAR10["get_config"]("xs,fast,narrow")
    config.model.update(image_shape=(8, 8, 1), depth=4, width=32, dense=64)
    if row == "annealing":
        config.method = dict(name="logit_annealing", eps=0.25, first=0.1, last=1.0)
    else:
        config.method.update(loss=row, eps=0.25, first=0.1, last=1.0)
    config.data.update(name="digits", batch=50, epochs=60, epoch_images=0)
    config.data.augment.update(crop=1, flip=False)
    config.optim.update(lr=5e-3, warmup_epochs=2)
    config.certify.radii = (0.0, 36 / 255, 0.25, 0.5, 1.0)
    config.tiny.data = dict(epochs=1, epoch_images=24, batch=8)
    return config
