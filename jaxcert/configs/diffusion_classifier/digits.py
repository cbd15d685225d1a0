"""Diffusion classifiers on the 8x8 digits, for the EDM of configs/edm/digits.py.

    python -m jaxcert.train --config configs/edm/digits.py --workdir runs/edm_digits
    python -m jaxcert.certify --workdir runs/edm_digits \\
        --config configs/diffusion_classifier/digits.py:apndc,0.25 \\
        --out runs/edm_digits/apndc_0.25.jsonl

Words as in cifar10.py, but classes are raced and the weights are those of training where the
words say nothing; 24 levels up to sigma 3 (sift has 50 and 126 of its own), n = 1,000,
the first 100 test images.
`denoised` and `hybrid` take the classifier of runs/digits_classifier:

    python -m jaxcert.train --config configs/denoised/digits.py --workdir runs/digits_classifier
"""

from jaxcert.configs.diffusion_classifier import cifar10
from jaxcert.configs.edm import digits as edm

CLASSIFIER = "runs/digits_classifier"
WORDS = {name: words for name, words in cifar10.WORDS.items() if name != "t1001"}
_IDLE = {
    "race",
    "dc,edm",
    "t1001",
}  # the default of these digits, and what they have not
ROWS = (
    *(r for r in cifar10.ROWS if not {r, *r.split(",")} & _IDLE),
    *(f"{kind},{s},full" for kind in cifar10.KINDS[:3] for s in ("0.50", "1.00")),
    *(f"{kind},0.25,full,repo" for kind in cifar10.KINDS[:3]),
    "apndc,0.25,full,noisy,repo",
    "dc,repo",
)


def get_config(arg=""):
    row = cifar10.row_of(arg, WORDS)
    config = edm.get_config()
    config.certify = cifar10.certificate(config.certify.to_dict(), row)
    config.certify.update(n=1000, stop=100)
    if "levels" in config.certify and row.search != "sift":
        config.certify.levels = 24
    if row.kind == "denoised" or row.search == "hybrid":
        config.certify.networks.classifier = CLASSIFIER
    config.tiny.certify = cifar10.tiny(config.certify)
    return config
