"""LOT on MNIST padded to 32x32: LipConvnet-10 of width 8, small enough for a CPU.

    python -m jaxcert.train --config configs/lot/mnist.py --workdir runs/lot_mnist

Word after the colon: hh1 | maxmin (hh1).
"""

from jaxcert.config import rows, words
from jaxcert.configs.lot import cifar10

WORDS = {"activation": ("hh1", "maxmin")}
ROWS = rows(WORDS)


def get_config(arg=""):
    activation = words(arg, **WORDS).activation or "hh1"
    config = cifar10.get_config("s,narrow")
    config.model.update(
        image_shape=(32, 32, 1), mean=(0.1,), std=0.3081, activation=activation
    )
    config.data.update(name="mnist", pad=32, batch=250, epochs=5)
    config.data.augment.update(crop=2, flip=False)
    config.certify.radii = (0.0, 36 / 255, 0.5, 1.0, 1.58)
    config.tiny.data.update(pad=0)
    return config
