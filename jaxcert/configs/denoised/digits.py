"""Classifiers for denoised smoothing on the 8x8 digits: seconds on a CPU.

    python -m jaxcert.train --config configs/denoised/digits.py --workdir runs/digits_classifier
    python -m jaxcert.train --config configs/denoised/digits.py:0.50 \\
        --workdir runs/digits_classifier_0.50

Words as in cifar10.py; the second fine-tunes the first on images that the EDM of
runs/edm_digits denoises.
"""

from jaxcert.configs.denoised import cifar10
from jaxcert.configs.smoothing import digits as smoothing

WORDS, ROWS = cifar10.WORDS, cifar10.ROWS


def get_config(arg=""):
    config = smoothing.get_config("gaussian,0.25")
    first, edm = "runs/digits_classifier", "runs/edm_digits"
    return cifar10.classifier(config, arg, first=first, edm=edm)
