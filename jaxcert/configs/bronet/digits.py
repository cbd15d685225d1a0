"""BRONet on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/bronet/digits.py --workdir runs/bronet_digits

Word after the colon: annealing | emma (annealing).
"""

from jaxcert.config import rows, words
from jaxcert.configs.bronet import cifar10
from jaxcert.configs.liresnet_pp.digits import digits

WORDS = {"loss": ("annealing", "emma")}
ROWS = rows(WORDS)


def get_config(arg=""):
    emma = words(arg, **WORDS).loss == "emma"
    config = cifar10.get_config("emma,fast,narrow" if emma else "fast,narrow")
    digits(config)
    return config
