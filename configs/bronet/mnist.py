"""BRONet on MNIST padded to 32x32, small enough for a CPU.

    python -m jaxcert.train --config configs/bronet/mnist.py --workdir runs/bronet_mnist

Word after the colon: annealing | emma (annealing).
"""

import runpy
from pathlib import Path

from jaxcert.errors import InputError

HERE = Path(__file__)
CIFAR10 = runpy.run_path(str(HERE.with_name("cifar10.py")))
MNIST = runpy.run_path(str(HERE.parents[1] / "liresnet_pp" / "mnist.py"))
ROWS = ("annealing", "emma")


def get_config(arg=""):
    row = arg or "annealing"
    if row not in ROWS:
        raise InputError(f"no variant {row!r}: {', '.join(ROWS)}.")
    config = CIFAR10["get_config"]("emma,narrow" if row == "emma" else "narrow")
    MNIST["mnist"](config)
    return config
