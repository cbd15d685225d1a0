"""LipNeXt on CIFAR-10: Hu, Hu and Fredrikson (2026), L32W1024 and L32W2048.

    python -m jaxcert.train --config configs/lipnext/cifar10.py:l32w1024,bf16 \\
        --workdir runs/lipnext

Words after the colon, in any order: size l32w1024 | l32w2048 | narrow (l32w1024; narrow is six
blocks of width 128, for a laptop's CPU), bf16 (activations in training).

Clean and certified accuracy at 36/255 of l32w1024 and l32w2048 are in `reference`. We do
not know the schedule and the rate of the paper: those here are ours, with the loss and the
augmentation of LiResNet++. We have not run these widths.

`five_minutes`, which stands alone, is L16W512 in bfloat16, with all images on the device
and an epoch as one program: about five minutes of an H200, by the counts of the compiled
program (docs/accelerator.md). We have not run it.

`laptop`, which stands alone as well, is L6W192 for one core, with logit annealing: 80 core
minutes, 67.5 % clean and 55.0 % at 36/255, proven, on all test images (docs/results.md). A
quarter of the channels bend, batches have 64 images, and the rate times the width is 0.38.
"""

from jaxcert.config import base, rows, words
from jaxcert.configs.bronet.cifar10 import ANNEALING

PAPER = {"l32w1024": (81.5, 71.2), "l32w2048": (85.0, 73.2)}
SIZES = {"l32w1024": (32, 1024), "l32w2048": (32, 2048), "narrow": (6, 128)}
BUDGETS = {
    "five_minutes": dict(
        model=dict(depth=16, width=512, dtype="bfloat16"),
        data=dict(epochs=180, placement="epoch"),
        optim=dict(lr=2e-3),
    ),
    "laptop": dict(
        model=dict(depth=6, width=192, bend=0.25),
        method=dict(ANNEALING, last=1.5),
        data=dict(
            batch=64,
            epochs=96,
            holdout=1000.0,
            augment=dict(crop=2, randaugment=0.0),
        ),
        optim=dict(lr=2e-3, lookahead=False),
        eval=dict(every_epochs=8, images=1000),
        checkpoint=dict(every_epochs=8),
        certify=dict(after_training=True),
    ),
}
WORDS = {"size": tuple(SIZES), "bf16": ("bf16",), "budget": BUDGETS}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    size = row.size or "l32w1024"
    narrow = size == "narrow"
    config = base()
    depth, width = SIZES[size]
    config.model = dict(
        name="lipnext",
        image_shape=(32, 32, 3),
        num_classes=10,
        depth=depth,
        width=width,
        patch=4,
        shift=0.125,
        bend=0.5,
        dtype="bfloat16" if row.bf16 else "float32",
    )
    config.method = dict(name="gloro", loss="emma", eps=36 / 255, first=0.1, last=1.5)
    config.data.update(name="cifar10", batch=256, epochs=12 if narrow else 800)
    config.data.augment.update(crop=4, flip=True, randaugment=0.0 if narrow else 0.5)
    # the first steps of Adam have the Frobenius norm lr * width
    lr = 5e-3 if narrow else 1.024 / width
    config.optim.update(name="adam", lr=lr, schedule="cosine", lookahead=not narrow)
    config.checkpoint.every_epochs = 1 if narrow else 10
    config.certify.update(
        name="lipschitz",
        batch=200,
        radii=(0.0, 36 / 255, 72 / 255, 108 / 255, 1.0),
    )
    if row.budget:
        config.method = row.budget.get("method", config.method)
        config.update(row.budget)
    elif not narrow:
        clean, certified = PAPER[size]
        config.reference.update(
            paper="Hu et al. 2026",
            radius=36 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny = dict(
        data=dict(name="digits", epochs=1, epoch_images=24, batch=8),
        model=dict(image_shape=(8, 8, 1), depth=2, width=8, patch=2),
    )
    return config
