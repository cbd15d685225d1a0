"""GloroNet (LiResNet) on CIFAR-10: Altstidl et al. (2023), Table 2; Hu et al. (2023).

    python -m jaxcert.train --config configs/liresnet/cifar10.py:s --workdir runs/gloro_s
    python -m jaxcert.train --config configs/liresnet/cifar10.py:l,2400,5m \\
        --config.data.generated=DIR/5m.npz --workdir runs/gloro_l_2400_5m

Words after the colon, in any order: size xs | s | m | l (L6W128, L12W128, L18W128,
L18W256), epochs 800 | 1600 | 2400, generated images none | 1m | 5m | 10m, trades (default
emma_fixed), fast (two power steps, at whose result the norm is differentiated; default ten
differentiated ones, as the original), narrow (an eighth of the width: a laptop's CPU). With
generated images 30 % of each batch are real.

Clean and certified accuracy at 36/255 are in `reference` of the rows without trades,
fast and narrow, which the paper did not train. We have not run these widths.

`five_minutes`, which stands alone, is size s, fast, with all images on the device and an
epoch as one program: about five minutes of an H200, by the counts of the compiled program
(docs/accelerator.md). We have not run it.

`laptop`, which stands alone as well, is L6W32, fast, for one core: 60 core minutes, 73.2 %
clean and 58.6 % at 36/255, proven, on all test images (docs/results.md).
"""

from jaxcert.config import base, rows, words

SIZES = {"xs": (6, 128), "s": (12, 128), "m": (18, 128), "l": (18, 256)}
COUNT = {"none": 0, "1m": 1_000_000, "5m": 5_000_000, "10m": 10_000_000}
EPOCH_IMAGES = 195 * 256  # the real images, without the last batch

# (clean, certified at 36/255) for none, 1m, 5m, 10m
TABLE_2 = {
    ("xs", 800): [(76.51, 63.44), (77.30, 65.29), (77.42, 65.57), (77.45, 65.17)],
    ("xs", 1600): [(76.95, 63.79), (78.13, 66.24), (78.21, 65.98), (78.38, 66.48)],
    ("xs", 2400): [(77.56, 64.14), (78.98, 66.53), (78.34, 66.34), (78.54, 66.60)],
    ("s", 800): [(77.22, 64.33), (78.12, 66.17), (77.99, 66.14), (77.90, 66.23)],
    ("s", 1600): [(77.91, 64.68), (78.74, 66.78), (78.44, 66.62), (78.53, 66.59)],
    ("s", 2400): [(78.28, 64.79), (78.89, 67.07), (78.76, 66.85), (78.87, 66.97)],
    ("m", 800): [(77.73, 64.81), (78.11, 66.37), (77.95, 66.59), (78.02, 66.45)],
    ("m", 1600): [(77.77, 65.06), (78.83, 67.12), (79.04, 66.83), (79.18, 67.31)],
    ("m", 2400): [(78.41, 64.87), (79.57, 67.39), (79.44, 67.44), (79.43, 67.56)],
    ("l", 800): [(77.94, 65.09), (79.12, 66.97), (78.94, 66.80), (79.13, 67.06)],
    ("l", 1600): [(78.99, 65.16), (79.81, 67.67), (79.50, 67.28), (79.90, 67.60)],
    ("l", 2400): [(79.33, 65.21), (80.20, 68.05), (80.28, 68.12), (80.00, 68.11)],
}

WORDS = {
    "size": tuple(SIZES),
    "epochs": ("800", "1600", "2400"),
    "generated": tuple(COUNT),
    "trades": ("trades",),
    "fast": ("fast",),
    "narrow": ("narrow",),
    "budget": {
        "five_minutes": dict(
            model=dict(power_steps=2, differentiated=False),
            data=dict(epochs=340, placement="epoch"),
            optim=dict(warmup_epochs=10),
        ),
        "laptop": dict(
            model=dict(depth=6, width=32, power_steps=2, differentiated=False),
            method=dict(last=1.0),
            data=dict(epochs=80, epoch_images=0, holdout=1000.0, augment=dict(crop=2)),
            optim=dict(lr=5e-3, warmup_epochs=2),
            eval=dict(every_epochs=5, images=1000),
            checkpoint=dict(every_epochs=5),
            certify=dict(after_training=True),
        ),
    },
}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    size, epochs = row.size or "s", int(row.epochs or 800)
    generated, (depth, width) = row.generated or "none", SIZES[size]
    config = base()
    config.model = dict(
        name="liresnet",
        image_shape=(32, 32, 3),
        num_classes=10,
        depth=depth,
        width=width // 8 if row.narrow else width,
        power_steps=2 if row.fast else 10,
        power_steps_evaluated=500,
        differentiated=not row.fast,
    )
    config.method = dict(
        name="gloro",
        loss="trades" if row.trades else "emma_fixed",
        lam=1.0,
        eps=36 / 255,
        first=0.1,
        last=1.5,
    )
    config.data.update(
        name="cifar10",
        batch=256,
        epochs=epochs,
        epoch_images=EPOCH_IMAGES if generated == "none" else 0,
        generated_share=0.7,
        generated_count=COUNT[generated],
    )
    config.data.augment.update(crop=4, flip=True)
    config.optim.update(name="adamw", lr=1e-3, weight_decay=1e-4, clip_norm=3.0)
    config.optim.update(schedule="warmup_cosine", warmup_epochs=20)
    config.checkpoint.every_epochs = 10
    config.certify.update(
        name="lipschitz",
        batch=200,
        radii=(0.0, 36 / 255, 72 / 255, 108 / 255, 1.0),
    )
    if row.budget:
        config.update(row.budget)
    elif not (row.trades or row.fast or row.narrow):
        cells = TABLE_2[size, epochs]
        clean, certified = cells[list(COUNT).index(generated)]
        config.reference.update(
            paper="Altstidl et al. 2023",
            table="2",
            radius=36 / 255,
            clean=clean,
            certified=certified,
        )
    config.tiny = dict(
        data=dict(name="digits", epochs=1, epoch_images=24, batch=8, generated_count=0),
        model=dict(image_shape=(8, 8, 1), depth=2, width=4, dense=8),
        optim=dict(warmup_epochs=0),
    )
    return config
