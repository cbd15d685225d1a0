"""LiResNet++ on CIFAR-10: Hu et al., "A Recipe for Improved Certifiable Robustness" (2024).

    python -m jaxcert.train --config configs/liresnet_pp/cifar10.py:4m \\
        --config.data.generated=DIR/4m.npz --workdir runs/liresnet_pp

Words after the colon, in any order: generated images none | 4m (none), fast (two power
steps; default ten, as the original), narrow (six blocks of width 32, four dense layers of
256: a laptop's CPU). With generated images a batch is 256 real and 768 generated ones, the latter
with a smaller crop and no RandAugment.

Clean and certified accuracy at 36/255 are in `reference` of the rows without fast and
narrow. We have not run this width.
"""

from jaxcert.config import base, rows, words

PAPER = {"none": (81.0, 69.8), "4m": (87.0, 78.1)}
STEPS = 195  # per epoch: those of the real images, without the last batch
WORDS = {"generated": tuple(PAPER), "fast": ("fast",), "narrow": ("narrow",)}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    images, narrow = row.generated or "none", row.narrow
    generated = images != "none"
    config = base()
    config.model = dict(
        name="liresnet_pp",
        image_shape=(32, 32, 3),
        num_classes=10,
        depth=6 if narrow else 12,
        width=32 if narrow else 512,
        dense=256 if narrow else 2048,
        dense_depth=4 if narrow else 8,
        power_steps=2 if row.fast else 10,
        power_steps_evaluated=500,
    )
    config.method = dict(name="gloro", loss="emma", eps=36 / 255, first=0.1, last=3.0)
    batch = 1024 if generated else 256
    config.data.update(
        name="cifar10",
        batch=batch,
        epochs=800,
        epoch_images=STEPS * batch,
        generated_share=0.75,
        generated_count=4_000_000 if generated else 0,
    )
    config.data.augment.update(crop=4, flip=True, randaugment=0.5, generated_crop=2)
    config.optim.update(name="nadam", lr=1e-3, clip_norm=3.0, lookahead=True)
    config.optim.update(schedule="warmup_cosine", warmup_epochs=20)
    config.checkpoint.every_epochs = 10
    config.certify.update(
        name="lipschitz",
        batch=200,
        radii=(0.0, 36 / 255, 72 / 255, 108 / 255, 1.0),
    )
    if not (row.fast or narrow):
        clean, certified = PAPER[images]
        config.reference.update(
            paper="Hu et al. 2024",
            table="1",
            radius=36 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny = dict(
        data=dict(name="digits", epochs=1, epoch_images=24, batch=8, generated_count=0),
        model=dict(image_shape=(8, 8, 1), depth=2, width=8, dense=8, dense_depth=2),
        optim=dict(warmup_epochs=0),
    )
    return config
