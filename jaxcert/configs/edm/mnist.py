"""EDM on MNIST, small enough for an hour of a CPU: 0.3 million parameters.

    python -m jaxcert.train --config configs/edm/mnist.py --workdir runs/edm_mnist
    python -m jaxcert.generate --workdir runs/edm_mnist --out generated/mnist --count 5000

A tenth of the labels is left out in training, so the same network denoises without a
class. Word after the colon: 500 (500 of the training images, the others are held out).
"""

from jaxcert.config import rows, words
from jaxcert.configs.edm.cifar10 import edm

WORDS = {"images": ("500",)}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = edm(images=60_000, million=0.3, ramp=1, batch=64)
    config.model = dict(
        name="edm_unet",
        kind="ddpmpp",
        num_classes=10,
        image_shape=(28, 28, 1),
        width=16,
        multipliers=(1, 2, 2),
        blocks=1,
        attention=(7,),
        embedding=4,
        dropout=0.1,
        label_dropout=0.1,
        augment_labels=0,
        dtype="float32",
    )
    config.data.update(name="mnist")
    config.optim.update(lr=2e-3, warmup_steps=200.0)
    config.ema_halflife = 3e4
    config.checkpoint.every_epochs = 1
    if row.images:
        config.data.update(holdout=59_500.0, epochs=400)
        config.checkpoint.every_epochs = 20
    config.tiny.data.holdout = 0.0
    config.tiny.model = dict(image_shape=(8, 8, 1), width=8, multipliers=(1,))
    config.tiny.model.attention = ()
    return config
