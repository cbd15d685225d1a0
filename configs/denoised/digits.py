"""Classifiers for denoised smoothing on the 8x8 digits: seconds on a CPU.

    python -m jaxcert.train --config configs/denoised/digits.py --workdir runs/digits_classifier
    python -m jaxcert.train --config configs/denoised/digits.py:0.50 \\
        --workdir runs/digits_classifier_0.50

Words as in cifar10.py; the second fine-tunes the first on images that the EDM of
runs/edm_digits denoises.
"""

import runpy
from pathlib import Path

CIFAR10 = runpy.run_path(str(Path(__file__).with_name("cifar10.py")))
SMOOTHING = runpy.run_path(str(Path(__file__).parents[1] / "smoothing" / "digits.py"))
ROWS = CIFAR10["ROWS"]


def get_config(arg=""):
    config = SMOOTHING["get_config"]("gaussian,0.25")
    first, edm = "runs/digits_classifier", "runs/edm_digits"
    return CIFAR10["classifier"](config, arg, first=first, edm=edm)
