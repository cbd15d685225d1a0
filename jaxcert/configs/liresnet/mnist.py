"""LiResNet on MNIST padded to 32x32, small enough for a CPU.

    python -m jaxcert.train --config configs/liresnet/mnist.py --workdir runs/lires_mnist

Word after the colon: emma_fixed | gloro | trades | emma (emma_fixed). Two power steps in
training.
"""

from jaxcert.config import rows, words
from jaxcert.configs.liresnet import cifar10
from jaxcert.configs.liresnet_pp.mnist import mnist

WORDS = {"loss": ("emma_fixed", "gloro", "trades", "emma")}
ROWS = rows(WORDS)


def get_config(arg=""):
    loss = words(arg, **WORDS).loss or "emma_fixed"
    config = cifar10.get_config("xs,fast,narrow")
    mnist(config)
    del config.model.dense_depth
    config.method.loss = loss
    config.optim.lr = 2e-3
    return config
