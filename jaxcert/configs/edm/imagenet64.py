"""EDM on ImageNet, 64x64: Karras et al. (2022), Table 7, the ADM network.

    python -m jaxcert.train --config configs/edm/imagenet64.py:bf16 \\
        --config.data.name=npy:DIR --workdir runs/edm_imagenet64
    python -m jaxcert.generate --workdir runs/edm_imagenet64 --out generated/imagenet64 \\
        --count 50000 --steps 256 --churn 40 --churn-min 0.05 --churn-max 50 \\
        --churn-noise 1.003

Words after the colon: bf16; dropped (a tenth of the labels is left out; not in the
paper). `npy:DIR` or `folder:DIR` holds images of 64x64 (jaxcert/data/files.py). FID in
the paper: 1.36, 2,500 million images. We have not run it.
"""

from jaxcert.config import words
from jaxcert.configs.edm.cifar10 import edm

WORDS = {"dropped": ("dropped",), "bf16": ("bf16",)}
ROWS = ("bf16", "dropped", "dropped,bf16")


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = edm(images=1_281_167, million=2500, ramp=10, batch=4096)
    config.model = dict(
        name="edm_unet",
        kind="adm",
        num_classes=1000,
        image_shape=(64, 64, 3),
        width=192,
        multipliers=(1, 2, 3, 4),
        blocks=3,
        attention=(32, 16, 8),
        embedding=4,
        dropout=0.1,
        label_dropout=0.1 if row.dropped else 0.0,
        augment_labels=0,
        dtype="bfloat16" if row.bf16 else "float32",
    )
    config.data.name = "npy:data/imagenet64"
    config.optim.lr = 1e-4
    config.ema_halflife = 50e6
    config.checkpoint.every_epochs = 1
    config.tiny.model = dict(width=8, multipliers=(1,), attention=(), blocks=1)
    config.tiny.model.update(image_shape=(8, 8, 1), num_classes=10)
    return config
