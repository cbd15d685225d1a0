"""Diffusion classifiers on ImageNet, 64x64: Chen et al. (2024).

The EDM is one of configs/edm/imagenet64.py.

    python -m jaxcert.certify --workdir runs/edm_imagenet64 \\
        --config configs/diffusion_classifier/imagenet64.py:apndc,0.25 \\
        --out runs/edm_imagenet64/apndc.jsonl

Words as in cifar10.py. apndc sifts the 1,000 classes and refines 10 of them, as the authors;
`race` is ours. n = 1,000 (denoised: 100,000); every 97th of 50,000 validation images, 516
in all (the authors draw 512). They put the noise on images of 256x256 and classify at 64x64, which
the paper does not say; here everything is at 64x64. We have not run it.
"""

from jaxcert.configs.diffusion_classifier import cifar10
from jaxcert.configs.edm import imagenet64 as edm

WORDS = cifar10.WORDS
ROWS = tuple(
    row.replace(",sift", ",full") for row in cifar10.ROWS
)  # sift needs no word


def get_config(arg=""):
    config = edm.get_config("dropped")
    row = cifar10.authors(cifar10.row_of(arg), search="sift")
    config.certify = cifar10.certificate(config.certify.to_dict(), row)
    if config.certify.name == "noised_diffusion_classifier":
        config.certify.update(n=1000, keep=10)
    config.certify.step = 97
    config.tiny.certify = cifar10.tiny(config.certify) | dict(step=1)
    return config
