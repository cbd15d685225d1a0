"""LiResNet++ on MNIST padded to 32x32, small enough for a CPU.

    python -m jaxcert.train --config configs/liresnet_pp/mnist.py --workdir runs/mnist

Word after the colon: emma | annealing (emma).
"""

from jaxcert.config import rows, words
from jaxcert.configs.liresnet_pp import cifar10

WORDS = {"loss": ("emma", "annealing")}
ROWS = rows(WORDS)


def get_config(arg=""):
    loss = words(arg, **WORDS).loss
    config = cifar10.get_config("fast,narrow")
    mnist(config)
    if loss == "annealing":
        config.method = dict(name="logit_annealing", eps=0.5, first=0.1, last=1.5)
    return config


def mnist(config):
    """Set what networks of LiResNet's family take on MNIST."""
    config.model.update(image_shape=(32, 32, 1), depth=4, width=16)
    config.model.update(dense=128, dense_depth=2)
    config.method.update(eps=0.5, first=0.1, last=1.5)
    config.data.update(name="mnist", pad=32, batch=100, epochs=5, epoch_images=0)
    config.data.augment.update(crop=2, flip=False, randaugment=0.0)
    config.data.augment.generated_crop = 2
    config.optim.update(lr=2e-3, warmup_epochs=1)
    config.certify.radii = (0.0, 36 / 255, 0.5, 1.0, 1.58)
    config.tiny.data.update(pad=0)
