"""LOT on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/lot/digits.py:residual,lln

Words after the colon: residual (three blocks a stage), lln (normalised head), maxmin | hh1
| hh2, multistep, fast (minimax polar factor).
"""

import runpy
from itertools import product
from pathlib import Path

from jaxcert.config import row as row_of

WORDS = {
    "residual": ("residual",),
    "head": ("lln",),
    "activation": ("hh1", "maxmin", "hh2"),
    "schedule": ("multistep",),
    "polar": ("fast",),
}
ROWS = tuple(
    ",".join(filter(None, row))
    for row in product(
        ("", "residual"),
        ("", "lln"),
        WORDS["activation"],
        ("", "multistep"),
        ("", "fast"),
    )
)


def get_config(arg=""):
    row = row_of(arg, WORDS)
    path = Path(__file__).parents[1] / "quickstart.py"
    config = runpy.run_path(str(path))["get_config"]()
    config.certify.after_training = False
    if "residual" in row:
        config.model.update(residual=True, blocks=3)
    config.model.head = row.get("head", config.model.head)
    config.model.activation = row.get("activation", "hh1")
    config.optim.schedule = row.get("schedule", "cosine")
    if "polar" in row:
        config.model.polar = "minimax"
    return config
