"""Gaussian training of LeNet on MNIST, certified by smoothing.

    python -m jaxcert.train --config configs/smoothing/mnist_gaussian.py:0.50 \\
        --workdir runs/mnist_gaussian_0.50

Words after the colon: the noise 0.25 | 0.50 | 1.00; m1 | m2 | m4 | m8 copies. The recipe
is that of the papers with MNIST results (Jeong & Shin 2020 and after): batch 256, rate
0.01, divided by 10 every 30 of 90 epochs, no augmentation. Not run by us yet; one CPU
core certifies some 7,000 samples a second, so lower certify.n there.
"""

import runpy
from itertools import product
from pathlib import Path

LOADER_BATCHES, LOADER_BATCH = 235, 256  # of 60,000 images

CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10_gaussian.py")))
ROWS = tuple(",".join(r) for r in product(CIFAR10["NOISE"], CIFAR10["COPIES"]))


def get_config(arg=""):
    config = CIFAR10["get_config"](arg)
    config.model = dict(name="lenet", num_classes=10, image_shape=(28, 28, 1))
    m = config.method.m
    config.data.update(
        name="mnist", epochs=90, epoch_images=LOADER_BATCHES * m * (LOADER_BATCH // m)
    )
    config.data.augment.update(crop=0, flip=False)
    config.optim.lr = 0.01
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    config.tiny.model = dict(name="small_cnn", image_shape=(8, 8, 1))
    config.tiny.data.augment = dict(crop=0)
    return config
