"""Training for randomized smoothing on CIFAR-10: the rows of Sun et al. (2024).

    python -m jaxcert.train --config configs/smoothing/cifar10.py:sun,0.50 \\
        --workdir runs/sun_0.50
    python -m jaxcert.certify --workdir runs/sun_0.50

Words after the colon, in any order: the noise 0.25 | 0.50 | 1.00; gaussian | stability
| smoothadv | macer | consistency | smoothmix | catrs | sun; m1 | m2 | m4 | m8 copies of
each image; resnet110 | resnet56 | resnet20; bf16; small: a network that a laptop trains
by any method in minutes, on 25,600 images in four parts of an epoch; for macer:
original (its authors' schedule); for consistency: attacked (with SmoothAdv's attack
first); for sun: discard, reweight, adversarial (its parts; all three if none is named),
et70 (E_t), pt0.4 (p_t), eps0.25, steps6 (T), linf (eps is then sqrt(d) eps), with the
values of Tables 5 to 10.

With m copies a loader batch of 256 images becomes m steps of 256 / m images, so an
epoch costs m times as much. A batch of macer is 64 images. An attack of T steps costs
about T times as much again.

catrs needs the votes of a first model on the training images:

    python -m jaxcert.train --config configs/smoothing/cifar10.py:gaussian,0.25 \\
        --workdir runs/gaussian_0.25
    python -m jaxcert.certify --workdir runs/gaussian_0.25 \\
        --config.certify.split=train --config.certify.procedure=predict \\
        --config.certify.n=10000 --out runs/gaussian_0.25/train.jsonl

Table 2, percent certified at each radius, on all 10,000 test images (gaussian with m4):

                        0 0.25  0.5 0.75    1 1.25  1.5 1.75    2 2.25  2.5   ACR
    gaussian,0.25    81.3 66.7 50.0 32.4                                     0.486
    macer,0.25       78.7 68.3 55.9 40.8                                     0.529
    smoothadv,0.25   73.4 65.6 57.0 47.5                                     0.544
    consistency,0.25 75.8 67.4 57.5 46.0                                     0.547
    smoothmix,0.25   77.1 67.6 56.8 45.0                                     0.543
    catrs,0.25       76.3 68.1 58.8 48.2                                     0.562
    sun,0.25         76.6 69.1 59.3 48.3                                     0.564
    gaussian,0.50    68.7 57.6 45.7 34.0 23.7 15.9  9.4  4.8                 0.562
    macer,0.50       64.7 57.4 49.5 42.1 34.0 26.4 19.2 12.0                 0.680
    smoothadv,0.50   65.3 57.8 49.9 41.7 33.7 26.0 19.5 12.9                 0.684
    consistency,0.50 64.1 57.6 50.3 42.9 35.9 29.1 22.6 16.0                 0.716
    smoothmix,0.50   60.6 55.2 49.3 43.3 37.6 32.1 26.4 20.5                 0.738
    catrs,0.50       62.3 56.8 50.5 44.6 38.5 32.7 27.1 20.6                 0.757
    sun,0.50         59.3 54.8 49.6 44.4 38.9 34.1 29.0 23.0                 0.760
    gaussian,1.00    51.5 44.1 36.5 29.4 23.8 18.2 13.1  9.2  6.0  3.8  2.3  0.534
    macer,1.00       39.5 36.9 34.6 31.7 28.9 26.4 23.8 21.1 18.6 16.0 13.8  0.760
    smoothadv,1.00   43.7 40.3 36.9 33.8 30.5 27.0 24.0 21.4 18.4 15.9 13.4  0.790
    consistency,1.00 45.7 42.0 37.8 33.7 30.0 26.3 22.9 19.6 16.6 13.9 11.6  0.757
    smoothmix,1.00   42.4 39.4 36.7 33.4 30.0 26.8 23.9 20.8 18.6 15.9 13.6  0.788
    catrs,1.00       43.2 40.2 37.2 34.3 31.0 28.1 24.9 22.0 19.3 16.8 14.2  0.815
    sun,1.00         42.0 39.4 36.5 33.9 31.1 28.4 25.6 23.1 20.6 18.3 16.1  0.844

Where papers, code and logs differ:
- gaussian: the row of Table 3 at 0.50 is m1, the others are m4.
- macer: rate 0.1, 150 epochs and the normalisation are those of Jeong et al. (2023),
  whose logs are the rows of the table. They name both 6 and 4 as lbd at 0.50.
- smoothadv: eps is 256 or 512 of 256, as its code counts; papers say of 255.
- consistency: in the logs lbd 10 at 0.25 has ACR 0.544, lbd 5 at 1.00 has 0.734.
- smoothmix: in the logs mix_step 1 at 0.25 has ACR 0.548, mix_step 0 at 0.50 has 0.712.

Cohen et al. certify every 20th image (--config.certify.step=20). None of these rows has
been run by us in full. With `small`, noise 0.25, of every 40th test image (n = 1,000;
standard errors up to 2.7), at radii 0, 0.25, 0.5, and the average radius. Except for
stability, the differences are one or two standard errors: so small a network on so few
images shows that every method runs, not how they compare. catrs had the votes of a
first model that is right on one image in five:

    gaussian    23.2 17.6 14.8 0.110
    stability    9.2  9.2  9.2 0.057    one class for all images
    smoothadv   21.2 19.2 17.2 0.113
    macer       20.0 18.8 17.6 0.114
    consistency 23.6 20.4 16.8 0.122
    smoothmix   23.6 17.6 15.6 0.110
    catrs       19.2 16.0 15.2 0.101
    sun         22.4 18.0 15.2 0.109
"""

from __future__ import annotations

import math

from jaxcert.config import base, words
from jaxcert.errors import InputError

LOADER_BATCH = 256
SIGMAS = (0.25, 0.5, 1.0)
RADII = {0.25: 4, 0.5: 8, 1.0: 11}  # the radii of the table's columns

# three values: at sigma 0.25, 0.5, 1.0
METHODS = {
    "gaussian": dict(m=1),
    "stability": dict(m=1, lbd=(2.0, 2.0, 1.0)),
    "smoothadv": dict(
        m=(4, 8, 2), eps=(1.0, 1.0, 2.0), attack="pgd", steps=10, warmup_epochs=10
    ),
    "macer": dict(
        m=16, lbd=(12.0, 6.0, 12.0), beta=16.0, gamma=8.0, start_epoch=(0, 0, 51)
    ),
    "macer,original": dict(
        m=16, lbd=(12.0, 4.0, 12.0), beta=16.0, gamma=8.0, start_epoch=(0, 0, 200)
    ),
    "consistency": dict(
        m=2,
        lbd=(20.0, 10.0, 10.0),
        eta=0.5,
        eps=0.0,
        steps=10,
        warmup_epochs=10,
        form="kl",
    ),
    "consistency,attacked": dict(
        m=(4, 2, 2),
        lbd=(2.0, 1.0, 1.0),
        eta=0.5,
        eps=(255 / 256, 2.0, 2.0),
        steps=10,
        warmup_epochs=10,
        form="kl",
    ),
    "smoothmix": dict(
        m=2,
        steps=4,
        step_size=(0.5, 1.0, 2.0),
        eta=5.0,
        mix_step=(0, 1, 1),
        warmup_epochs=10,
    ),
    "catrs": dict(
        m=4,
        lbd=(0.5, 1.0, 2.0),
        eps=1.0,
        steps=4,
        soft_labels="runs/gaussian_0.25/train.jsonl",
        confidence_mask=False,
        double_eps_epoch=0,
    ),
    "sun": dict(
        m=4,
        start_epoch=(60, 70, 60),
        p_t=(0.5, 0.4, 0.4),
        steps=(3, 6, 4),
        eps=(0.25, 0.25, 0.5),
        norm="l2",
        discard=True,
        reweight=True,
        adversarial=True,
        discard_n=100,
        reweight_n=16,
        reweight_every=10,
        votes="",
    ),
}
PARTS = ("discard", "reweight", "adversarial")

# key of config.method, or of the row: word -> value
WORDS = {
    "sigma": {"0.25": 0.25, "0.50": 0.5, "1.00": 1.0},
    "method": {name: name for name in METHODS if "," not in name},
    "m": {f"m{m}": m for m in (1, 2, 4, 8)},
    "depth": {f"resnet{depth}": depth for depth in (110, 56, 20)},
    "dtype": {"bf16": "bfloat16"},
    "recipe": {"original": "original", "attacked": "attacked"},
    "size": {"small": "small"},
    **{part: {part: True} for part in PARTS},
    "start_epoch": {f"et{epoch}": epoch for epoch in (50, 70, 90, 110, 130)},
    "p_t": {f"pt{p:g}": p for p in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)},
    "eps": {f"eps{eps:g}": eps for eps in (0.125, 0.25, 0.5, 1.0, 2.0)},
    "steps": {f"steps{steps}": steps for steps in range(2, 11)},
    "norm": {"linf": "linf"},
}
OF_THE_ROW = ("sigma", "method", "depth", "dtype", "recipe", "size")

# row: (table, clean, certified at 0.5)
PUBLISHED = {
    "gaussian,0.25,m4": ("2", 81.3, 50.0),
    "macer,0.25": ("2", 78.7, 55.9),
    "smoothadv,0.25": ("2", 73.4, 57.0),
    "consistency,0.25": ("2", 75.8, 57.5),
    "smoothmix,0.25": ("2", 77.1, 56.8),
    "catrs,0.25": ("2", 76.3, 58.8),
    "sun,0.25": ("2", 76.6, 59.3),
    "gaussian,0.50,m4": ("2", 68.7, 45.7),
    "macer,0.50": ("2", 64.7, 49.5),
    "smoothadv,0.50": ("2", 65.3, 49.9),
    "consistency,0.50": ("2", 64.1, 50.3),
    "smoothmix,0.50": ("2", 60.6, 49.3),
    "catrs,0.50": ("2", 62.3, 50.5),
    "sun,0.50": ("2", 59.3, 49.6),
    "gaussian,1.00,m4": ("2", 51.5, 36.5),
    "macer,1.00": ("2", 39.5, 34.6),
    "smoothadv,1.00": ("2", 43.7, 36.9),
    "consistency,1.00": ("2", 45.7, 37.8),
    "smoothmix,1.00": ("2", 42.4, 36.7),
    "catrs,1.00": ("2", 43.2, 37.2),
    "sun,1.00": ("2", 42.0, 36.5),
    "sun,0.25,discard": ("3", 81.2, 53.7),
    "sun,0.25,reweight": ("3", 81.3, 53.3),
    "sun,0.25,adversarial": ("3", 76.7, 55.6),
    "sun,0.25,discard,reweight": ("3", 81.1, 54.6),
    "sun,0.25,discard,adversarial": ("3", 77.4, 57.7),
    "sun,0.25,reweight,adversarial": ("3", 75.0, 58.1),
    "gaussian,0.50,m1": ("3", 65.7, 42.8),
    "sun,0.50,discard": ("3", 68.4, 49.5),
    "sun,0.50,reweight": ("3", 68.1, 50.3),
    "sun,0.50,adversarial": ("3", 63.4, 49.1),
    "sun,0.50,discard,reweight": ("3", 68.5, 51.0),
    "sun,0.50,discard,adversarial": ("3", 63.4, 50.1),
    "sun,0.50,reweight,adversarial": ("3", 56.1, 47.3),
    "sun,1.00,discard": ("3", 46.8, 37.6),
    "sun,1.00,reweight": ("3", 49.9, 39.7),
    "sun,1.00,adversarial": ("3", 47.3, 37.0),
    "sun,1.00,discard,reweight": ("3", 48.8, 40.3),
    "sun,1.00,discard,adversarial": ("3", 47.0, 39.1),
    "sun,1.00,reweight,adversarial": ("3", 39.7, 34.8),
    "sun,0.50,et50": ("5", 58.0, 48.3),
    "sun,0.50,et90": ("5", 60.1, 49.6),
    "sun,0.50,et110": ("5", 60.0, 49.5),
    "sun,0.50,et130": ("5", 61.4, 50.2),
    "sun,0.50,pt0.3": ("6", 59.5, 49.4),
    "sun,0.50,pt0.5": ("6", 60.0, 49.9),
    "sun,0.50,pt0.6": ("6", 59.2, 49.5),
    "sun,0.50,pt0.7": ("6", 59.5, 49.0),
    "sun,0.50,pt0.8": ("6", 59.5, 49.1),
    "sun,0.50,eps0.125": ("7", 64.2, 51.6),
    "sun,0.50,eps0.5": ("7", 50.8, 43.9),
    "sun,0.50,eps1": ("7", 43.2, 38.2),
    "sun,0.50,eps2": ("7", 38.1, 33.0),
    "sun,0.50,steps2": ("8", 66.2, 51.5),
    "sun,0.50,steps4": ("8", 62.0, 50.9),
    "sun,0.50,steps8": ("8", 57.0, 48.0),
    "sun,0.50,steps10": ("8", 54.1, 45.9),
    "sun,0.50,linf,eps0.125": ("9", 66.3, 51.8),
    "sun,0.50,linf": ("9", 62.7, 51.1),
    "sun,0.50,linf,eps0.5": ("9", 55.7, 46.9),
    "sun,0.50,linf,eps1": ("9", 46.4, 39.9),
    "sun,0.50,linf,steps3": ("10", 66.0, 51.6),
    "sun,0.50,linf,steps4": ("10", 65.0, 51.5),
    "sun,0.50,linf,steps5": ("10", 64.2, 51.4),
    "sun,0.50,linf,steps7": ("10", 61.5, 50.6),
    "sun,0.50,linf,steps8": ("10", 60.1, 49.7),
}
ROWS = (
    *PUBLISHED,
    *(f"gaussian,{s},{m}" for s in ("0.25", "1.00") for m in ("m1", "m2", "m8")),
    *(f"gaussian,0.50,{m}" for m in ("m2", "m8")),
    *(f"gaussian,{s},{n}" for s in WORDS["sigma"] for n in ("resnet56", "resnet20")),
    *(f"gaussian,{s},resnet110,bf16" for s in WORDS["sigma"]),
    *(f"stability,{s}" for s in WORDS["sigma"]),
    *(f"macer,{s},original" for s in WORDS["sigma"]),
    *(f"consistency,{s},attacked" for s in WORDS["sigma"]),
    *(f"{name},{s},small" for name in WORDS["method"] for s in WORDS["sigma"]),
)

SMALL = {
    "gaussian": dict(m=2),
    "smoothadv": dict(m=2, steps=2, warmup_epochs=2),
    "macer": dict(m=4, lbd=4.0, start_epoch=2),
    "consistency": dict(warmup_epochs=2),
    "smoothmix": dict(steps=2, eta=1.0, warmup_epochs=2),
    "catrs": dict(m=2, steps=2, soft_labels="runs/small_gaussian_0.25/train.jsonl"),
    "sun": dict(m=2, start_epoch=2, steps=2, reweight_every=2, discard_n=20),
}

TINY = dict(
    steps=2,
    warmup_epochs=1,
    start_epoch=0,
    p_t=0.0,
    discard_n=16,
    soft_labels="labels",
    votes="",
)


def get_config(arg=""):
    row = given(arg, WORDS)
    method = settings(row, METHODS)
    if "size" in row:
        method = shrunk(method, SMALL, row)
    config = smoothing(method, images=50_000)
    config.model = dict(
        name="resnet",
        depth=row.get("depth", 110),
        num_classes=10,
        image_shape=(32, 32, 3),
        width=16,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        dtype=row.get("dtype", "float32"),
    )
    config.data.update(name="cifar10", epochs=150)
    config.data.augment.update(crop=4, flip=True)
    if "size" in row:
        kept = {
            k: config.model[k] for k in ("num_classes", "image_shape", "mean", "std")
        }
        config.model = dict(name="small_cnn", width=16, **kept)
        config.data.update(epochs=4, epoch_images=6_400)
        laptop(config)
    elif row.get("recipe") == "original":
        config.model.update(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        config.data.epochs = 440
        config.optim.update(
            lr=0.01, weight_decay=5e-4, milestones=(200 / 440, 400 / 440)
        )
    elif config.model.depth == 110 and "dtype" not in row:
        for known, (table, clean, certified) in PUBLISHED.items():
            if settings(given(known, WORDS), METHODS) == method:
                config.reference.update(
                    paper="Sun et al. 2024",
                    table=table,
                    radius=0.5,
                    clean=clean,
                    certified=certified,
                )
    config.tiny.model = dict(width=4, image_shape=(8, 8, 1), mean=(0.3,), std=(0.37,))
    if config.model.name == "resnet":
        config.tiny.model.depth = 8
    config.tiny.data.augment = dict(crop=1, flip=False)
    return config


def given(arg, groups):
    """Return the words of a row: `sun,0.50,et90` -> {"method": "sun", "sigma": 0.5,
    "start_epoch": 90}."""
    row = vars(words(arg, **groups))
    return {key: value for key, value in row.items() if value is not None}


def settings(row, methods):
    """Return config.method of a row: the settings of its method at its noise, changed
    by the other words."""
    sigma, name = row.get("sigma", 0.5), row.get("method", "gaussian")
    recipe = ",".join(filter(None, (name, row.get("recipe"))))
    if recipe not in methods:
        raise InputError(f"there is no row {recipe!r} but {'; '.join(methods)}.")
    at = SIGMAS.index(sigma)
    found = {
        key: value[at] if isinstance(value, tuple) else value
        for key, value in methods[recipe].items()
    }
    if None in found.values():
        raise InputError(
            f"{name} has no published settings at noise {sigma}: give another noise."
        )
    changes = {key: value for key, value in row.items() if key not in OF_THE_ROW}
    if any(part in changes for part in PARTS):
        changes = dict.fromkeys(PARTS, False) | changes
    for key, value in changes.items():
        if key not in found:
            raise InputError(
                f"{name} has no {key} that could be {value} but {', '.join(found)}: "
                "leave the word out."
            )
    return dict(name=name, sigma=sigma) | found | changes


def shrunk(method, sizes, row):
    """Return config.method of a row with what `sizes` has for a small network. Raises
    InputError for a word whose key is fixed there."""
    small = sizes.get(method["name"], {})
    fixed = {"depth", "dtype", *small} - {"m"}
    idle = [key for key in row if key in fixed or row[key] == "original"]
    if idle:
        raise InputError(
            f"`small` has a {idle[0]} of its own: leave the word for it, or small, out."
        )
    copies = {"m": row["m"]} if "m" in row else {}
    return method | small | copies


def laptop(config):
    """Set the schedule and the samples that a small network gets."""
    config.optim.update(lr=0.1, schedule="cosine")
    config.checkpoint.every_epochs = 1
    config.certify.n = 10_000


def smoothing(method, images):
    """Return what the data sets have in common: batches, optimizer and certificate."""
    config = base()
    config.method = method
    m, sigma = method["m"], method["sigma"]
    if method["name"] == "macer":
        config.data.batch = 64
    else:
        batch = LOADER_BATCH // m
        config.data.update(
            batch=batch, epoch_images=math.ceil(images / LOADER_BATCH) * m * batch
        )
    config.optim.update(
        name="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="multistep",
        milestones=(1 / 3, 2 / 3),
    )
    config.checkpoint.every_epochs = 10
    config.certify.update(
        name="smoothing",
        procedure="certify",  # certify | predict | radii | two_stage | sequence
        sigma=sigma,
        n0=100,
        n=100_000,
        alpha=0.001,
        rho=0.05,  # for two_stage and sequence
        bound="union",  # for sequence: union | mixture
        rival="single",  # single | runner_up | auto, of the best other class
        noise="gaussian",  # gaussian | grid | uniform | laplace
        norm="l2",  # l2 | l1 | linf
        chunk=0,
        batch=100,
        radii=tuple(0.25 * i for i in range(RADII[sigma])),
    )
    config.tiny = dict(
        method={key: value for key, value in TINY.items() if key in method},
        data=dict(name="digits", batch=8, epoch_images=24, epochs=1),
        certify=dict(n0=10, n=50, stop=4),
    )
    if m > 2:
        config.tiny.method.m = 2
    return config
