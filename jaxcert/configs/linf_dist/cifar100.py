"""l_inf-dist nets on CIFAR-100: Altstidl et al. (2023), Table 3 (800 epochs of "hinge").

    python -m jaxcert.train --config configs/linf_dist/cifar100.py:hinge,1m \\
        --config.data.generated=generated/1m --workdir runs/linf_c100_1m

Rows as in configs/linf_dist/cifar10.py; the normalisation is that of the code for
CIFAR-100. We have not run this width.
"""

from jaxcert.config import words
from jaxcert.configs.linf_dist import cifar10

TABLE_3 = [(25.99, 9.36), (27.56, 10.45), (27.69, 10.25), (27.73, 10.47)]
WORDS, ROWS = cifar10.WORDS, cifar10.ROWS


def get_config(arg=""):
    config, row = cifar10.get_config(arg), words(arg, **WORDS)
    config.data.name = "cifar100"
    config.model.update(num_classes=100, mean=(0.5071, 0.4867, 0.4408), std=0.2667)
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    if row.recipe == "hinge" and row.times != "2x" and not row.narrow:
        column = list(cifar10.COUNT).index(row.generated or "none")
        clean, certified = TABLE_3[column]
        config.reference.update(
            paper="Altstidl et al. 2023",
            table="3",
            radius=8 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny.model.num_classes = 10
    return config
