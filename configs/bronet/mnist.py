"""BRONet on MNIST padded to 32x32, small enough for a CPU.

    python -m jaxcert.train --config configs/bronet/mnist.py --workdir runs/bronet_mnist

Word after the colon: annealing | emma (annealing).
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

HERE = Path(__file__)
CIFAR10 = runpy.run_path(str(HERE.with_name("cifar10.py")))
MNIST = runpy.run_path(str(HERE.parents[1] / "liresnet_pp" / "mnist.py"))
ROWS = ("annealing", "emma")


def get_config(arg=""):
    row = row_of(arg, {"loss": ROWS}).get("loss", "annealing")
    config = CIFAR10["get_config"]("emma," * (row == "emma") + "fast,narrow")
    MNIST["mnist"](config)
    return config
