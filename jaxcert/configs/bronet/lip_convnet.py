"""LipConvNet with block reflector layers and logit annealing on CIFAR: Lai et al. (2025).

    python -m jaxcert.train --config configs/bronet/lip_convnet.py:cifar10 \\
        --workdir runs/bro_lip_convnet

Words after the colon, in any order: cifar100 | cifar10 (cifar100, the paper's), size
s | m | l (LipConvnet-10, 20, 40), narrow (width 8: a laptop's CPU). The rank is an
eighth of the channels.
"""

from jaxcert.config import rows, words
from jaxcert.configs.lot import cifar10 as lot

WORDS = {
    "data": ("cifar100", "cifar10"),
    "size": ("s", "m", "l"),
    "narrow": ("narrow",),
}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = lot.get_config((row.size or "s") + ",narrow" * row.narrow)
    config.model.update(conv="bro", activation="maxmin", residual=False)
    config.method = dict(
        name="logit_annealing",
        xi=2.0,
        temperature=0.75,
        beta=5.0,
        first=0.0,
        last=0.0,
    )
    config.data.batch = 512
    config.optim.update(weight_decay=3e-4, schedule="multistep")
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    if row.data != "cifar10":
        config.data.name = "cifar100"
        config.model.update(num_classes=100, head="lln")
        config.tiny.model.num_classes = 10
    return config
