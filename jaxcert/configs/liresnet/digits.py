"""LiResNet on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/liresnet/digits.py --workdir runs/liresnet

Words after the colon: gloro | trades | emma_fixed | emma (emma_fixed), annealing (logit
annealing on the logits of emma); original (ten power steps in training, which are
differentiated as by the authors; otherwise two, and the norm is differentiated at their
result alone).
"""

from jaxcert.config import rows, words
from jaxcert.configs.liresnet import cifar10

WORDS = {
    "loss": ("emma_fixed", "gloro", "trades", "emma", "annealing"),
    "original": ("original",),
}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    loss = row.loss or "emma_fixed"
    config = cifar10.get_config("xs,narrow" if row.original else "xs,fast,narrow")
    config.model.update(image_shape=(8, 8, 1), depth=4, width=32, dense=64)
    if loss == "annealing":
        config.method = dict(name="logit_annealing", eps=0.25, first=0.1, last=1.0)
    else:
        config.method.update(loss=loss, eps=0.25, first=0.1, last=1.0)
    config.data.update(name="digits", batch=50, epochs=60, epoch_images=0)
    config.data.augment.update(crop=1, flip=False)
    config.optim.update(lr=5e-3, warmup_epochs=2)
    config.certify.radii = (0.0, 36 / 255, 0.25, 0.5, 1.0)
    config.tiny.data = dict(epochs=1, epoch_images=24, batch=8)
    return config
