"""LiResNet on MNIST padded to 32x32, small enough for a CPU.

    python -m jaxcert.train --config configs/liresnet/mnist.py --workdir runs/lires_mnist

Word after the colon: emma_fixed | gloro | trades | emma (emma_fixed). Two power steps in
training.
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

HERE = Path(__file__)
CIFAR10 = runpy.run_path(str(HERE.with_name("cifar10.py")))
MNIST = runpy.run_path(str(HERE.parents[1] / "liresnet_pp" / "mnist.py"))
ROWS = ("emma_fixed", "gloro", "trades", "emma")


def get_config(arg=""):
    row = row_of(arg, {"loss": ROWS}).get("loss", "emma_fixed")
    config = CIFAR10["get_config"]("xs,fast,narrow")
    MNIST["mnist"](config)
    del config.model.dense_depth
    config.method.loss = row
    config.optim.lr = 2e-3
    return config
