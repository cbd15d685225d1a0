"""EDM on the 8x8 digits: five minutes on a CPU, 189 thousand parameters.

    python -m jaxcert.train --config configs/edm/digits.py --workdir runs/edm_digits
    python -m jaxcert.generate --workdir runs/edm_digits --out generated/digits --count 5000
    python -m jaxcert.quality --generated generated/digits --data digits

A tenth of the labels is left out in training, so the same network denoises without a
class. Word after the colon: long (three times the steps).
"""

from jaxcert.config import rows, words
from jaxcert.configs.edm.cifar10 import edm

WORDS = {"long": ("long",)}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = edm(images=1000, million=1, ramp=1, batch=64)
    config.model = dict(
        name="edm_unet",
        kind="ddpmpp",
        num_classes=10,
        image_shape=(8, 8, 1),
        width=16,
        multipliers=(1, 2),
        blocks=1,
        attention=(4,),
        embedding=4,
        dropout=0.1,
        label_dropout=0.1,
        augment_labels=0,
        dtype="float32",
    )
    config.data.update(name="digits", epochs=340 if row.long else 113)
    config.optim.update(lr=2e-3, warmup_steps=200.0)
    config.ema_halflife = 1e5
    config.checkpoint.every_epochs = 20
    config.tiny.model = dict(width=8, multipliers=(1,), attention=())
    return config
