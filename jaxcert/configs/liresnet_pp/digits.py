"""LiResNet++ on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/liresnet_pp/digits.py --workdir runs/lires_pp

Word after the colon: emma | annealing (emma; logit annealing on the logits of emma).
"""

from jaxcert.config import rows, words
from jaxcert.configs.liresnet_pp import cifar10

WORDS = {"loss": ("emma", "annealing")}
ROWS = rows(WORDS)


def get_config(arg=""):
    loss = words(arg, **WORDS).loss
    config = cifar10.get_config("fast,narrow")
    digits(config)
    if loss == "annealing":
        config.method = dict(name="logit_annealing", eps=0.25, first=0.1, last=1.0)
    return config


def digits(config):
    """Set what networks of LiResNet's family take on the digits."""
    config.model.update(image_shape=(8, 8, 1), depth=4, width=32)
    config.model.update(dense=32, dense_depth=2)
    config.method.update(eps=0.25, first=0.1, last=1.0)
    config.data.update(name="digits", batch=50, epochs=60, epoch_images=0)
    config.data.augment.update(crop=1, flip=False, randaugment=0.0)
    config.data.augment.generated_crop = 1
    config.optim.update(lr=5e-3, warmup_epochs=2)
    config.certify.radii = (0.0, 36 / 255, 0.25, 0.5, 1.0)
    config.tiny.data = dict(epochs=1, epoch_images=24, batch=8)
