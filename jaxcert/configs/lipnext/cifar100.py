"""LipNeXt on CIFAR-100: Hu, Hu and Fredrikson (2026). All else is as on CIFAR-10.

    python -m jaxcert.train --config configs/lipnext/cifar100.py:l32w2048,bf16 \\
        --workdir runs/lipnext_cifar100

Words after the colon, in any order: size l32w1024 | l32w2048 | narrow (l32w1024), bf16; each by
itself five_minutes | laptop, which were sized on CIFAR-10. The paper certifies 44.1 % at 36/255.
We do not know with which size, so no row has it as its reference.
"""

from jaxcert.config import rows
from jaxcert.configs.lipnext import cifar10

WORDS = cifar10.WORDS
ROWS = rows(WORDS)


def get_config(arg=""):
    config = cifar10.get_config(arg)
    config.data.name = "cifar100"
    config.model.num_classes = 100
    config.reference.update(paper="", radius=0.0, clean=0.0, certified=0.0)
    config.tiny.model.num_classes = 10
    return config
