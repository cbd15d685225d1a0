"""LOT on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/lot/digits.py:residual,lln

Words after the colon: residual (three blocks a stage), lln (normalised head), maxmin | hh1
| hh2, multistep, fast (minimax polar factor).
"""

from jaxcert.config import rows, words
from jaxcert.configs import quickstart

WORDS = {
    "residual": ("residual",),
    "lln": ("lln",),
    "activation": ("hh1", "maxmin", "hh2"),
    "multistep": ("multistep",),
    "fast": ("fast",),
}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = quickstart.get_config()
    config.certify.after_training = False
    if row.residual:
        config.model.update(residual=True, blocks=3)
    if row.lln:
        config.model.head = "lln"
    config.model.activation = row.activation or "hh1"
    if row.multistep:
        config.optim.schedule = "multistep"
    if row.fast:
        config.model.polar = "minimax"
    return config
