"""LipNeXt on MNIST, in 7x7 tokens, small enough for a CPU.

    python -m jaxcert.train --config configs/lipnext/mnist.py --workdir runs/lipnext_mnist

Word after the colon: 500 (500 of the training images, the others are held out).
"""

from jaxcert.config import rows, words
from jaxcert.configs.lipnext import cifar10

WORDS = {"images": ("500",)}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = cifar10.get_config("narrow")
    config.model.update(image_shape=(28, 28, 1), depth=8, width=64)
    config.method.update(eps=0.5)
    config.data.update(name="mnist", batch=100, epochs=5)
    config.data.augment.update(crop=2, flip=False)
    config.certify.radii = (0.0, 36 / 255, 0.5, 1.0, 1.58)
    if row.images:
        config.data.update(holdout=59_500.0, epochs=1600)
        config.checkpoint.every_epochs = 400
    return config
