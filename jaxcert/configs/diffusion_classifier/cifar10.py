"""Diffusion classifiers on CIFAR-10: Chen et al. (2024), for an EDM of configs/edm/cifar10.py.

    python -m jaxcert.train --config configs/edm/cifar10.py:dropped,bf16 --workdir runs/edm
    python -m jaxcert.certify --workdir runs/edm \\
        --config configs/diffusion_classifier/cifar10.py:apndc,0.25 --out runs/edm/apndc.jsonl

The same works with weights of the authors (jaxcert.import_torch); their conditional
network was trained with a class for every image, so APNDC, DiffPure and denoised
smoothing need the unconditional one as well:
--config.certify.networks.unconditional=runs/edm_uncond, or `denoised` with the
unconditional workdir.

Words after the colon:

    apndc | epndc | diffpure    noised diffusion classifiers as votes
    denoised                    denoised smoothing, with the classifier of
                                --config.certify.networks.classifier
    dc                          the Lipschitz radius of the clean diffusion classifier
    0.25 | 0.50 | 1.00          the noise, in pixels of [0, 1]
    full | race | sift | hybrid how classes are searched (full, as the authors; a race costs
                                about a tenth); hybrid needs that classifier
    repo | edm | stabilised     the weights and levels of the authors' code (repo); those of
                                the network's training, which sift takes; weights that fall
                                towards the noise of the image (ours)
    noisy                       of apndc: levels are noised from the noisy image
    t1001                       1001 levels, their T' = 1000; without it 126, T' = 100

n0 = 100 and n = 10,000 (denoised: 100,000; dc: 10 and 1,000), images 0 to 511. In the
paper, the best over the noises at each radius: APNDC at T' = 1000 has 91.2 clean and
82.2, 70.7, 54.5 at 0.25, 0.5, 0.75, at T' = 100 about 3 points less. We have not run
it.
"""

from jaxcert.config import words
from jaxcert.configs.edm import cifar10 as edm
from jaxcert.errors import InputError

WORDS = {
    "kind": ("apndc", "epndc", "diffpure", "denoised", "dc"),
    "sigma": ("0.25", "0.50", "1.00"),
    "search": ("full", "race", "sift", "hybrid"),
    "weighting": ("repo", "edm", "stabilised"),
    "noisy": ("noisy",),
    "t1001": ("t1001",),
}
VOTES = ("kind", "sigma", "search", "weighting", "t1001")
USED = {
    "epndc": VOTES,
    "diffpure": VOTES,
    "denoised": ("kind", "sigma"),
    "dc": ("kind", "weighting", "t1001"),
}
"""The words that each kind takes; apndc takes all."""
KINDS, SIGMAS = WORDS["kind"], WORDS["sigma"]
ROWS = (
    *(f"{kind},{sigma}" for kind in KINDS[:4] for sigma in SIGMAS),
    *(f"{kind},{sigma},race" for kind in KINDS[:3] for sigma in SIGMAS),
    *(f"apndc,{sigma},{search}" for search in ("sift", "hybrid") for sigma in SIGMAS),
    *(f"{kind},0.25,full,edm" for kind in KINDS[:3]),
    "apndc,0.25,full,noisy",
    *(f"apndc,{sigma},t1001" for sigma in SIGMAS),
    *(f"epndc,{sigma},stabilised" for sigma in SIGMAS),
    "dc",
    "dc,edm",
)


def get_config(arg=""):
    config, row = edm.get_config("dropped"), authors(row_of(arg))
    config.certify = certificate(config.certify.to_dict(), row)
    if config.certify.name == "noised_diffusion_classifier":
        config.certify.update(n=10_000)
    config.certify.stop = 512
    plain = (row.kind or "apndc") == "apndc" and row.weighting == "repo"
    plain = plain and not row.noisy
    if plain and row.t1001 and (row.sigma or "0.25") == "0.25":
        if config.certify.search == "full":
            config.reference.update(
                paper="Chen et al. 2024",
                table="1",
                radius=0.25,
                clean=91.2,
                certified=82.2,
            )
    config.tiny.certify = tiny(config.certify)
    return config


def row_of(arg, groups=WORDS):
    """Return the words of a row by their group. Raises InputError for one that its kind
    does not take."""
    row = words(arg, **groups)
    kind = row.kind or "apndc"
    used = {word for key in USED.get(kind, WORDS) for word in WORDS[key]}
    idle = [word for word in arg.split(",") if word and word not in used]
    if idle:
        raise InputError(
            f"row {arg!r}: {kind} takes no word {idle[0]!r}; leave it out."
        )
    return row


def authors(row, search="full"):
    """Return a row with the authors' search and weights where it names none. Sift-and-Refine
    has the weights of training."""
    own = search if (row.kind or "apndc") == "apndc" else "full"
    row.search = row.search or own
    row.weighting = row.weighting or ("edm" if row.search == "sift" else "repo")
    return row


def certificate(certify, row):
    """Return the section `certify` of a row; what it does not name is raced, with the weights
    of training."""
    kind, sigma = row.kind or "apndc", float(row.sigma or 0.25)
    levels = dict(
        weighting=row.weighting or "edm",
        levels=1001 if getattr(row, "t1001", False) else 126,
        sigma_end=3.0,
        drop_below=0.0,
    )
    if kind == "dc":
        return (
            certify
            | levels
            | dict(
                name="diffusion_classifier",
                cap=1.0,
                n0=10,
                n=1000,
                alpha=0.001,
                bound="bernstein",
                chunk=0,
                radii=(0.0, 0.001, 0.003, 0.01, 0.03),
            )
        )
    votes = dict(
        sigma=sigma,
        n0=100,
        n=100_000,
        alpha=0.001,
        procedure="certify",
        rho=0.05,
        bound="union",
        rival="single",
        noise="gaussian",
        norm="l2",
        chunk=0,
        radii=(0.0, 0.25, 0.5, 0.75, 1.0),
    )
    if kind == "denoised":
        networks = dict(classifier="")
        return certify | votes | dict(name="denoised_smoothing", networks=networks)
    return (
        certify
        | votes
        | levels
        | dict(
            name="noised_diffusion_classifier",
            kind=kind,
            noise_from="noisy" if row.noisy else "denoised",
            search=row.search or "race",
            c=2.0,
            min_levels=3,
            keep=3,  # for hybrid and sift
            threshold=0.02,
            block=0,
            networks=dict(unconditional="", classifier=""),
        )
    )


def tiny(certify):
    """Return the overrides that shrink a certificate to seconds."""
    small = dict(n0=5, n=20, stop=2)
    if "levels" in certify:
        sifts = certify.get("search") == "sift"  # always with 126 levels
        small.update(levels=certify.levels if sifts else 12, chunk=4)
    return small
