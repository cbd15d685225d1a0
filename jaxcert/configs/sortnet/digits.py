"""SortNet on the 8x8 digits: the whole schedule in a minute or two on a CPU.

    python -m jaxcert.train --config configs/sortnet/digits.py --workdir runs/sortnet_digits

Words after the colon: sortnet | linf_dist | hybrid (sortnet).
"""

from jaxcert.config import rows, words
from jaxcert.configs.linf_dist import cifar10 as linf_dist_cifar10
from jaxcert.configs.sortnet import cifar10 as sortnet_cifar10

WORDS = {"network": ("sortnet", "linf_dist", "hybrid")}
ROWS = rows(WORDS)


def get_config(arg=""):
    network = words(arg, **WORDS).network
    cifar10 = linf_dist_cifar10 if network == "linf_dist" else sortnet_cifar10
    config = cifar10.get_config("8,mlp" if network == "hybrid" else "8")
    config.model.update(
        image_shape=(8, 8, 1), depth=4, width=192, mean=(0.3,), std=0.37
    )
    if network == "hybrid":
        config.model.hidden = 32
    config.method.update(eps=0.15, p_start=4.0, p_end=36.0)
    config.method.eps_end = 10.0 if network == "hybrid" else 0.0
    config.data.update(name="digits", batch=100, epochs=40, epoch_images=1000)
    config.data.augment.update(crop=0, flip=False)
    config.checkpoint.every_epochs = 10
    config.certify.radii = (0.0, 0.05, 0.1, 0.15, 0.2)
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    return config
