"""LipConvNet with block reflector layers and logit annealing on CIFAR: Lai et al. (2025).

    python -m jaxcert.train --config configs/bronet/lip_convnet.py:cifar10 \\
        --workdir runs/bro_lip_convnet

Words after the colon, in any order: cifar100 | cifar10 (cifar100, the paper's), size s | m |
l (LipConvnet-10, 20, 40), narrow (width 8: a laptop's CPU). Rank an eighth of the channels.
"""

import runpy
from itertools import product
from pathlib import Path

from jaxcert.config import row as row_of

LOT = runpy.run_path(str(Path(__file__).parents[1] / "lot" / "cifar10.py"))
SIZES = ("s", "m", "l")
WORDS = {"data": ("cifar100", "cifar10"), "size": SIZES, "narrow": ("narrow",)}
ROWS = tuple(
    ",".join(filter(None, row)) for row in product(WORDS["data"], SIZES, ("", "narrow"))
)


def get_config(arg=""):
    row = row_of(arg, WORDS)
    data = row.pop("data", "cifar100")
    config = LOT["get_config"](",".join(row.values()))
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
    if data == "cifar100":
        config.data.name = "cifar100"
        config.model.update(num_classes=100, head="lln")
        config.tiny.model.num_classes = 10
    return config
