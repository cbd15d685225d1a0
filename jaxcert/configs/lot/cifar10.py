"""LOT on CIFAR-10: Altstidl et al. (2023), Tables 2 (cosine) and 4 (multi-step).

    python -m jaxcert.train --config configs/lot/cifar10.py:s --workdir runs/lot_s
    python -m jaxcert.train --config configs/lot/cifar10.py:m,400,5m \\
        --config.data.generated=DIR/5m.npz --workdir runs/lot_m_400_5m

Rows, in any order after the colon: size s | m | l (LipConvnet-10, 20, 40), epochs 200 | 400
| 600, generated images none | 1m | 5m | 10m, multistep (default cosine), narrow (width 8:
a laptop's CPU), fast (minimax polar factor; the published numbers are of newton_schulz).
With generated images 30 % of each batch are real; 1m is a uniform sample of the 5M file, so
give that file for it.

Clean and certified accuracy at 36/255 of each row are in `reference`. Activation, gamma and
seeds are not printed in the paper: HH1 with gamma 0.5 are the "HH + CR" rows of the
literature. Sizes m and l reach their depth with residual layers.

`five_minutes`, which stands alone, is size s, fast, with all images on the device and an
epoch as one program: about five minutes of an H200, by the counts of the compiled program
(docs/accelerator.md). We have not run it.

`laptop`, which stands alone as well, is size s with half of its layers, width 8 and batches of
128 for one core, with logit annealing and Adam instead of the paper's loss and SGD: 83 core
minutes, 72.9 % clean and 59.8 % at 36/255, proven, on all test images (docs/results.md).
"""

from jaxcert.config import base, rows, words
from jaxcert.configs.bronet.cifar10 import ANNEALING

BLOCKS = {"s": 2, "m": 4, "l": 8}
COUNT = {"none": 0, "1m": 1_000_000, "5m": 5_000_000, "10m": 10_000_000}

# (clean, certified at 36/255) for none, 1m, 5m, 10m
COSINE = {
    ("s", 200): [(76.60, 63.45), (79.19, 65.81), (79.18, 65.93), (79.22, 66.17)],
    ("s", 400): [(76.50, 63.48), (79.87, 66.99), (80.02, 67.42), (79.96, 67.23)],
    ("s", 600): [(76.75, 63.81), (80.36, 67.75), (80.56, 68.00), (80.59, 68.07)],
    ("m", 200): [(76.92, 63.38), (79.58, 66.85), (79.59, 66.95), (79.90, 66.82)],
    ("m", 400): [(76.41, 63.93), (80.37, 67.96), (80.53, 68.17), (80.75, 68.08)],
    ("m", 600): [(76.49, 63.63), (80.71, 68.44), (80.98, 68.66), (80.69, 68.52)],
    ("l", 200): [(77.21, 64.53), (80.06, 67.34), (80.29, 67.47), (79.91, 67.58)],
    ("l", 400): [(77.00, 64.47), (80.80, 68.39), (80.80, 68.66), (80.76, 68.51)],
    ("l", 600): [(76.62, 64.39), (81.24, 68.93), (81.42, 69.05), (81.20, 69.03)],
}
MULTISTEP = {
    ("s", 200): [(75.64, 62.43), (78.69, 65.06), (78.40, 65.01), (78.82, 65.09)],
    ("s", 400): [(75.74, 62.95), (79.58, 66.36), (79.40, 66.51), (79.33, 66.41)],
    ("s", 600): [(75.85, 63.02), (80.03, 66.97), (80.04, 66.97), (79.86, 66.95)],
    ("m", 200): [(77.03, 63.60), (79.14, 66.30), (79.30, 66.40), (79.29, 66.12)],
    ("m", 400): [(76.83, 63.42), (80.01, 67.37), (80.35, 67.67), (80.15, 67.61)],
    ("m", 600): [(76.47, 63.56), (80.53, 67.98), (80.54, 68.19), (80.17, 67.82)],
    ("l", 200): [(76.90, 63.70), (79.35, 66.60), (79.33, 66.79), (79.53, 66.66)],
    ("l", 400): [(76.76, 64.23), (80.42, 67.84), (80.52, 67.78), (80.21, 67.80)],
    ("l", 600): [(76.93, 64.35), (80.73, 68.70), (81.08, 68.40), (80.59, 68.54)],
}

WORDS = {
    "size": tuple(BLOCKS),
    "epochs": ("200", "400", "600"),
    "generated": tuple(COUNT),
    "multistep": ("multistep",),
    "narrow": ("narrow",),
    "fast": ("fast",),
    "budget": {
        "five_minutes": dict(
            model=dict(polar="minimax"), data=dict(epochs=45, placement="epoch")
        ),
        "laptop": dict(
            model=dict(blocks=1, width=8, polar="minimax"),
            method=dict(ANNEALING, last=1.5),
            data=dict(batch=128, epochs=80, holdout=1000.0, augment=dict(crop=2)),
            optim=dict(name="adam", lr=5e-3),
            eval=dict(every_epochs=8, images=1000),
            checkpoint=dict(every_epochs=8),
            certify=dict(after_training=True),
        ),
    },
}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    size, epochs = row.size or "s", int(row.epochs or 200)
    generated = row.generated or "none"
    config = base()
    config.model = dict(
        name="lip_convnet",
        image_shape=(32, 32, 3),
        num_classes=10,
        stages=5,
        blocks=BLOCKS[size],
        width=8 if row.narrow else 32,
        conv="lot",
        polar="minimax" if row.fast else "newton_schulz",
        activation="hh1",
        head="orthogonal",
        residual=size != "s",
        mean=(0.4914, 0.4822, 0.4465),
        std=0.2507,
    )
    config.method = dict(name="lot", gamma=0.5)
    config.data.update(
        name="cifar10",
        batch=256,
        epochs=epochs,
        generated_share=0.7,
        generated_count=COUNT[generated],
    )
    config.data.augment.update(crop=4, flip=True)
    schedule = "multistep" if row.multistep else "cosine"
    config.optim.update(name="sgd", lr=0.1, momentum=0.9, schedule=schedule)
    config.checkpoint.every_epochs = 5
    config.certify.update(
        name="lipschitz",
        batch=200,
        radii=(0.0, 36 / 255, 72 / 255, 108 / 255, 1.0),
    )
    if row.budget:
        config.method = row.budget.get("method", config.method)
        config.update(row.budget)
    elif not (row.narrow or row.fast):
        table = MULTISTEP if row.multistep else COSINE
        cells = table[size, epochs]
        clean, certified = cells[list(COUNT).index(generated)]
        config.reference.update(
            paper="Altstidl et al. 2023",
            table="4" if row.multistep else "2",
            radius=36 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny = dict(
        data=dict(name="digits", epochs=1, epoch_images=24, batch=8, generated_count=0),
        model=dict(image_shape=(8, 8, 1), stages=3, width=2, blocks=2, mean=(0.3,)),
    )
    return config
