"""Classifiers for denoised smoothing on CIFAR-10: Carlini et al. (2023).

    python -m jaxcert.train --config configs/denoised/cifar10.py --workdir runs/cifar10_classifier
    python -m jaxcert.train --config configs/denoised/cifar10.py:0.50 \\
        --workdir runs/cifar10_classifier_0.50
    python -m jaxcert.certify --workdir runs/edm \\
        --config configs/diffusion_classifier/cifar10.py:denoised,0.50 \\
        --config.certify.networks.classifier=runs/cifar10_classifier_0.50 \\
        --out runs/edm/denoised_0.50.jsonl

Words after the colon: 0.25 | 0.50 | 1.00, fine-tuned for a tenth of the epochs on
images that the EDM of runs/edm denoises, from the weights of the first command; without
a word, clean images. The network is a ResNet-110, where the authors take a
WideResNet-70-2. We have not run it.
"""

from jaxcert.config import words
from jaxcert.configs.smoothing import cifar10 as smoothing

WORDS = {"sigma": {"0.25": 0.25, "0.50": 0.5, "1.00": 1.0}}
ROWS = tuple(WORDS["sigma"])


def get_config(arg=""):
    config = smoothing.get_config("gaussian,0.25,m1")
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    return classifier(config, arg, first="runs/cifar10_classifier", edm="runs/edm")


def classifier(config, arg, *, first, edm):
    """Return a smoothing config as that of a row: trained without noise, or fine-tuned."""
    sigma = words(arg, **WORDS).sigma
    config.method = dict(name="cross_entropy")
    if sigma:
        networks = dict(denoiser=edm)
        config.method = dict(name="denoised", sigma=sigma, networks=networks)
        config.init = first
        config.data.epochs = config.data.epochs // 10
        config.optim.lr = 0.1 * config.optim.lr
        config.certify.sigma = sigma
    config.tiny.method = dict()
    return config
