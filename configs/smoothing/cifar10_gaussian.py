"""Gaussian training on CIFAR-10, certified by smoothing: Cohen et al. (2019).

    python -m jaxcert.train --config configs/smoothing/cifar10_gaussian.py:0.50 \\
        --workdir runs/gaussian_0.50
    python -m jaxcert.certify --workdir runs/gaussian_0.50

Words after the colon, in any order: the noise 0.25 | 0.50 | 1.00; m1 | m2 | m4 | m8
copies of each image (the Gaussian rows of Sun et al., Table 2, are m4); resnet110 |
resnet56 | resnet20; bf16. With m copies a loader batch of 256 images becomes m steps of
256 / m images, so an epoch costs m times as much.

Expected with m4, ResNet-110, percent certified at radii 0, 0.25, 0.5, ...:

| sigma | ACR   | 0    | 0.25 | 0.5  | 0.75 | 1.0  | 1.25 | 1.5  | 1.75 |
|-------|-------|------|------|------|------|------|------|------|------|
| 0.25  | 0.486 | 81.3 | 66.7 | 50.0 | 32.4 |      |      |      |      |
| 0.50  | 0.562 | 68.7 | 57.6 | 45.7 | 34.0 | 23.7 | 15.9 |  9.4 |  4.8 |
| 1.00  | 0.534 | 51.5 | 44.1 | 36.5 | 29.4 | 23.8 | 18.2 | 13.1 |  9.2 |

These are on all 10,000 test images; Cohen et al. certify every 20th
(--config.certify.step=20). Not run by us yet. Memory-bound floors of one H200 put 150
epochs near 10 minutes with m1 and bf16, and 500 images of certification at 1 to 3 minutes.
"""

from itertools import product

from jaxcert.config import base
from jaxcert.errors import InputError

LOADER_BATCHES, LOADER_BATCH = 196, 256  # of 50,000 images

# sigma: (clean, certified at 0.5), m = 4
TABLE_2 = {0.25: (81.3, 50.0), 0.5: (68.7, 45.7), 1.0: (51.5, 36.5)}
RADII = {0.25: 4, 0.5: 8, 1.0: 11}  # of the table's columns

NOISE, COPIES = ("0.25", "0.50", "1.00"), ("m1", "m2", "m4", "m8")
WORDS = [NOISE, COPIES, ("resnet110", "resnet56", "resnet20"), ("", "bf16")]
ROWS = tuple(",".join(filter(None, row)) for row in product(*WORDS))


def get_config(arg=""):
    row = _row(arg)
    sigma, m = row["sigma"], row["m"]
    config = base()
    config.model = dict(
        name="resnet",
        depth=row["depth"],
        num_classes=10,
        image_shape=(32, 32, 3),
        width=16,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        dtype=row["dtype"],
    )
    config.method = dict(name="gaussian", sigma=sigma, m=m)
    config.data.update(
        name="cifar10",
        batch=LOADER_BATCH // m,
        epoch_images=LOADER_BATCHES * m * (LOADER_BATCH // m),
        epochs=150,
    )
    config.data.augment.update(crop=4, flip=True)
    config.optim.update(
        name="sgd",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        schedule="multistep",
        milestones=(1 / 3, 2 / 3),
    )
    config.precision = "default"  # no certificate rests on float32 products here
    config.checkpoint.every_epochs = 10
    config.certify.update(
        name="smoothing",
        procedure="certify",
        sigma=sigma,
        n0=100,
        n=100_000,
        alpha=0.001,
        chunk=0,
        batch=100,
        radii=tuple(0.25 * i for i in range(RADII[sigma])),
    )
    if m == 4 and row["depth"] == 110:
        clean, certified = TABLE_2[sigma]
        config.reference.update(
            paper="Sun et al. 2024",
            table="2",
            radius=0.5,
            clean=clean,
            certified=certified,
        )
    config.tiny = dict(
        model=dict(depth=8, width=4, image_shape=(8, 8, 1), mean=(0.3,), std=(0.37,)),
        data=dict(
            name="digits",
            batch=8,
            epoch_images=24,
            epochs=1,
            augment=dict(crop=1, flip=False),
        ),
        certify=dict(n0=10, n=50, stop=4),
    )
    return config


def _row(arg):
    row = dict(sigma=0.5, m=1, depth=110, dtype="float32")
    for word in filter(None, arg.split(",")):
        if word in ("0.25", "0.50", "1.00"):
            row["sigma"] = float(word)
        elif word in ("m1", "m2", "m4", "m8"):
            row["m"] = int(word[1:])
        elif word in ("resnet20", "resnet56", "resnet110"):
            row["depth"] = int(word[6:])
        elif word == "bf16":
            row["dtype"] = "bfloat16"
        else:
            raise InputError(
                f"no row {word!r}: noise 0.25, 0.50, 1.00; copies m1, m2, m4, m8; "
                "resnet110, resnet56, resnet20; bf16."
            )
    return row
