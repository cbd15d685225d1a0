"""LipNeXt on the 8x8 digits: trained and certified in a minute of one core.

python -m jaxcert.train --config configs/lipnext/digits.py --workdir runs/lipnext_digits
"""

from jaxcert.config import words
from jaxcert.configs.lipnext import cifar10

WORDS = {}
ROWS = ()


def get_config(arg=""):
    words(arg, **WORDS)
    config = cifar10.get_config("narrow")
    config.model.update(image_shape=(8, 8, 1), depth=8, width=64, patch=2)
    config.data.update(name="digits", batch=100, epochs=200)
    config.data.augment.update(crop=0, flip=False)
    config.checkpoint.every_epochs = 50
    config.certify.radii = (0.0, 36 / 255, 0.25, 0.5, 1.0)
    config.certify.after_training = True
    config.tiny.data = dict(epochs=1, epoch_images=24, batch=8)
    return config
