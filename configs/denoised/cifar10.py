"""Classifiers for denoised smoothing on CIFAR-10: Carlini et al. (2023).

    python -m jaxcert.train --config configs/denoised/cifar10.py --workdir runs/cifar10_classifier
    python -m jaxcert.train --config configs/denoised/cifar10.py:0.50 \\
        --workdir runs/cifar10_classifier_0.50
    python -m jaxcert.certify --workdir runs/edm \\
        --config configs/diffusion_classifier/cifar10.py:denoised,0.50 \\
        --config.certify.networks.classifier=runs/cifar10_classifier_0.50 \\
        --out runs/edm/denoised_0.50.jsonl

Words after the colon: 0.25 | 0.50 | 1.00, fine-tuned for a tenth of the epochs on images that
the EDM of runs/edm denoises, from the weights of the first command; none: clean images. A
ResNet-110, where the authors take a WideResNet-70-2. Not run by us.
"""

import runpy
from pathlib import Path

from jaxcert.config import row as row_of

SMOOTHING = runpy.run_path(str(Path(__file__).parents[1] / "smoothing" / "cifar10.py"))
SIGMAS = {"0.25": 0.25, "0.50": 0.5, "1.00": 1.0}
ROWS = tuple(SIGMAS)


def get_config(arg=""):
    config = SMOOTHING["get_config"]("gaussian,0.25,m1")
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    return classifier(config, arg, first="runs/cifar10_classifier", edm="runs/edm")


def classifier(config, arg, *, first, edm):
    """A smoothing config as that of a row: trained without noise, or fine-tuned."""
    row_of(arg, {"sigma": ROWS})
    config.method = dict(name="cross_entropy")
    if arg:
        networks = dict(denoiser=edm)
        config.method = dict(name="denoised", sigma=SIGMAS[arg], networks=networks)
        config.init = first
        config.data.epochs = config.data.epochs // 10
        config.optim.lr = 0.1 * config.optim.lr
        config.certify.sigma = SIGMAS[arg]
    config.tiny.method = dict()
    return config
