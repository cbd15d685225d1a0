"""SortNet on CIFAR-100: Altstidl et al. (2023), Table 3 (without dropout, 3,000 epochs).

    python -m jaxcert.train --config configs/sortnet/cifar100.py:nodrop,1m \\
        --config.data.generated=generated/1m --workdir runs/sortnet_c100_1m

Rows as in configs/sortnet/cifar10.py; the normalisation is that of the code for CIFAR-100.
Not run by us at this width.
"""

import runpy
from pathlib import Path

TABLE_3 = [(24.93, 9.20), (27.58, 17.28), (26.74, 16.69), (27.50, 17.25)]
CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
WORDS, ROWS = CIFAR10["WORDS"], CIFAR10["ROWS"]


def get_config(arg=""):
    config, row = CIFAR10["get_config"](arg), CIFAR10["parse"](arg)
    config.data.name = "cifar100"
    config.model.update(num_classes=100, mean=(0.5071, 0.4867, 0.4408), std=0.2667)
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    published = dict(radius=8, mlp=False, nodrop=True, times=1, narrow=False)
    if published.items() <= row.items():
        clean, certified = TABLE_3[list(CIFAR10["COUNT"]).index(row["generated"])]
        config.reference.update(
            paper="Altstidl et al. 2023",
            table="3",
            radius=8 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny.model.num_classes = 10
    return config
