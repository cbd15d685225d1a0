"""BRONet on MNIST padded to 32x32, small enough for a CPU.

    python -m jaxcert.train --config configs/bronet/mnist.py --workdir runs/bronet_mnist

Word after the colon: annealing | emma (annealing).
"""

from jaxcert.config import rows, words
from jaxcert.configs.bronet import cifar10
from jaxcert.configs.liresnet_pp.mnist import mnist

WORDS = {"loss": ("annealing", "emma")}
ROWS = rows(WORDS)


def get_config(arg=""):
    emma = words(arg, **WORDS).loss == "emma"
    config = cifar10.get_config("emma,fast,narrow" if emma else "fast,narrow")
    mnist(config)
    return config
