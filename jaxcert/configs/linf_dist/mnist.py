"""l_inf-dist nets on MNIST, Zhang et al. (2022): radii 0.1 and 0.3.

    python -m jaxcert.train --config configs/linf_dist/mnist.py:0.3 --workdir runs/linf_0.3

Words after the colon: 0.1 | 0.3 (0.3); laptop (width 256, 20 epochs).
"""

from jaxcert.config import rows, words
from jaxcert.configs.linf_dist import cifar10

EPS = {"0.1": 0.3, "0.3": 0.45}  # radius: eps of training, in pixels
WORDS = {"radius": tuple(EPS), "laptop": ("laptop",)}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = cifar10.get_config("8")
    mnist(config)
    config.model.update(identity=10.0)
    config.method.update(eps=EPS[row.radius or "0.3"], lam=0.05, lam_end=0.0002)
    if row.laptop:
        laptop(config, (2, 18, 20))
    else:
        marks(config, (25, 400, 450))
    return config


def mnist(config):
    """Set the parts of a CIFAR-10 config that the data decides."""
    config.model.update(
        image_shape=(28, 28, 1), depth=5, mean=(0.1307,), std=0.3081, identity=10.0
    )
    config.data.update(name="mnist", epoch_images=118 * 512)
    config.data.augment.update(crop=1, flip=False)
    config.certify.radii = (0.0, 0.1, 0.2, 0.3)
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)


def marks(config, epochs):
    """Set the epochs of the schedule at which p starts to rise, p becomes infinite, and
    training ends."""
    config.method.update(p_start=float(epochs[0]), p_end=float(epochs[1]))
    config.data.epochs = epochs[2]


def laptop(config, epochs):
    """Set a narrow net and a short schedule."""
    marks(config, epochs)
    config.model.width = 256
    config.checkpoint.every_epochs = 5
