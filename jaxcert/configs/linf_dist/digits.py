"""l_inf-dist nets on the 8x8 digits: the whole schedule in a minute or two on a CPU.

    python -m jaxcert.train --config configs/linf_dist/digits.py --workdir runs/linf_digits

Words after the colon: mixture | hinge | hybrid (mixture), the recipes of CIFAR-10.
"""

from jaxcert.config import rows, words
from jaxcert.configs.linf_dist import cifar10

WORDS = {"recipe": ("mixture", "hinge", "hybrid")}
ROWS = rows(WORDS)


def get_config(arg=""):
    recipe = words(arg, **WORDS).recipe or "mixture"
    config = cifar10.get_config("8" if recipe == "mixture" else recipe)
    digits(config)
    return config


def digits(config):
    """Set what distance nets take on the digits, with a tanh head or without."""
    config.model.update(
        image_shape=(8, 8, 1), depth=4, width=192, mean=(0.3,), std=0.37
    )
    if config.model.hidden:
        config.model.hidden = 32
    config.method.update(eps=0.15, p_start=4.0, p_end=36.0)
    config.method.eps_end = 10.0 if config.model.hidden else 0.0
    config.data.update(name="digits", batch=100, epochs=40, epoch_images=1000)
    config.data.augment.update(crop=0, flip=False)
    config.checkpoint.every_epochs = 10
    config.certify.radii = (0.0, 0.05, 0.1, 0.15, 0.2)
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
