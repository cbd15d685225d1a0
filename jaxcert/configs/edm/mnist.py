"""EDM on MNIST, small enough for a CPU: 0.3 million parameters.

    python -m jaxcert.train --config configs/edm/mnist.py --workdir runs/edm_mnist
    python -m jaxcert.generate --workdir runs/edm_mnist --out generated/mnist --count 5000

A tenth of the labels is left out in training, so the same network denoises without a
class. Word after the colon: 500 (500 of the training images, the others are held out). The row
500 took 25 minutes of a core; what its images gain is in docs/tutorials/generated_data.md.
"""

from jaxcert.config import rows, words
from jaxcert.configs.edm import digits

WORDS = {"images": ("500",)}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = digits.get_config()
    config.model.update(image_shape=(28, 28, 1), multipliers=(1, 2, 2), attention=(7,))
    config.data.update(name="mnist", epochs=5)
    config.ema_halflife = 3e4
    config.checkpoint.every_epochs = 1
    if row.images:
        config.data.update(holdout=59_500.0, epochs=400)
        config.checkpoint.every_epochs = 20
    config.tiny.model.image_shape = (8, 8, 1)
    return config
