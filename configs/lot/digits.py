"""LOT on the 8x8 digits, for trying things out: seconds per epoch on a CPU.

    python -m jaxcert.train --config configs/lot/digits.py:residual,lln

Words after the colon: residual (three blocks a stage), lln (normalised head), maxmin | hh1
| hh2, multistep, fast (minimax polar factor).
"""

import runpy
from itertools import product
from pathlib import Path

from jaxcert.errors import InputError

WORDS = [
    ("", "residual"),
    ("", "lln"),
    ("hh1", "maxmin", "hh2"),
    ("", "multistep"),
    ("", "fast"),
]
ROWS = tuple(",".join(filter(None, row)) for row in product(*WORDS))


def get_config(arg=""):
    path = Path(__file__).parents[1] / "quickstart.py"
    config = runpy.run_path(str(path))["get_config"]()
    config.certify.after_training = False
    for word in filter(None, arg.split(",")):
        if word == "residual":
            config.model.update(residual=True, blocks=3)
        elif word == "lln":
            config.model.head = "lln"
        elif word in ("maxmin", "hh1", "hh2"):
            config.model.activation = word
        elif word == "multistep":
            config.optim.schedule = "multistep"
        elif word == "fast":
            config.model.polar = "minimax"
        else:
            raise InputError(
                f"no variant {word!r}: residual, lln, maxmin, hh1, hh2, multistep, "
                "fast."
            )
    return config
