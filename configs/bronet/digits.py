"""BRONet on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/bronet/digits.py --workdir runs/bronet_digits

Word after the colon: annealing | emma (annealing).
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

HERE = Path(__file__)
CIFAR10 = runpy.run_path(str(HERE.with_name("cifar10.py")))
DIGITS = runpy.run_path(str(HERE.parents[1] / "liresnet_pp" / "digits.py"))
ROWS = ("annealing", "emma")


def get_config(arg=""):
    row = row_of(arg, {"loss": ROWS}).get("loss", "annealing")
    config = CIFAR10["get_config"]("emma," * (row == "emma") + "fast,narrow")
    DIGITS["digits"](config)
    return config
