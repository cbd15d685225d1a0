"""SortNet on CIFAR-10, Zhang et al. (2022).

    python -m jaxcert.train --config configs/sortnet/cifar10.py --workdir runs/sortnet_8
    python -m jaxcert.train --config configs/sortnet/cifar10.py:nodrop,2x,10m \\
        --config.data.generated=generated/10m --workdir runs/sortnet_nodrop_6000_10m

Words after the colon, in any order:
  2 | 8               radius of the recipe, in 255ths (8)
  mlp                 with a tanh head on the last distances
  nodrop              rho = 0, which makes it an l_inf-dist net with SortNet's training
                      ("w/o dropout" of Altstidl et al. 2023, as we read them)
  none | 1m | 5m | 10m  generated images, 30 % of each batch stay real (none)
  1x | 2x             length of the schedule, every mark of it (1x: 3,000 epochs)
  narrow              width 256, a CPU's

Clean and certified accuracy of a row are in `reference`: the best of the paper's eight
logs without generated images (their mean at 8/255 is 54.49 / 39.96, standard deviation
0.35), of Table 1 of Altstidl et al. with them. We have not run this width. Compiled for
one H200 a step has 245 kernels at p = 8, 215 while p rises and 220 at infinity; by an
estimate (nothing was timed) they take 38, 179 and 19 ms, and the 3,000 epochs about 14
hours. Nearly all of that is spent while p rises, with two special functions and 30
instructions for each difference, three times.
"""

from jaxcert.config import base, rows, words

EPOCH_IMAGES = 98 * 512  # 50,000, with the last batch filled up
COUNT = {"none": 0, "1m": 1_000_000, "5m": 5_000_000, "10m": 10_000_000}
LOGS = {  # (radius in 255ths, mlp), 3,000 epochs
    (2, False): (65.96, 56.67),
    (8, False): (54.84, 40.39),
    (2, True): (67.72, 56.94),
    (8, True): (54.13, 39.99),
}
TABLE_1 = {  # (dropped, times): none, 1m, 5m, 10m
    (True, 1): [(53.38, 39.72), (52.50, 41.23), (52.78, 40.35), (53.29, 41.32)],
    (True, 2): [(53.36, 39.05), (52.41, 40.70), (52.57, 40.23), (53.09, 40.65)],
    (False, 1): [(56.09, 37.44), (54.28, 41.51), (54.36, 41.71), (54.18, 41.41)],
    (False, 2): [(54.81, 36.50), (54.72, 41.76), (54.36, 41.52), (54.75, 41.78)],
}
KEEP = {(2, False): 0.75, (8, False): 0.85, (2, True): 0.7, (8, True): 0.6}

WORDS = {
    "radius": ("2", "8"),
    "mlp": ("mlp",),
    "nodrop": ("nodrop",),
    "generated": tuple(COUNT),
    "times": ("1x", "2x"),
    "narrow": ("narrow",),
}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    radius, mlp, generated = int(row.radius or 8), row.mlp, row.generated or "none"
    times = 2 if row.times == "2x" else 1
    config = base()
    config.model = dict(
        name="dist_net",
        image_shape=(32, 32, 3),
        num_classes=10,
        depth=7 if mlp else 6,
        width=256 if row.narrow else 5120,
        rho=0.0 if row.nodrop else round(1 - KEEP[radius, mlp], 2),
        hidden=512 if mlp else 0,
        mean=(0.4914, 0.4822, 0.4465),
        std=0.2009,
    )
    config.method = dict(
        name="sortnet",
        loss="ce_hinge" if mlp else "mixture",
        p_start=200.0 * times,
        p_end=2950.0 * times,
    )
    if mlp:
        config.method.update(eps=1.1 * radius / 255, lam=1.0, lam_end=0.01)
        config.method.update(eps_start=0.0, eps_end=500.0 * times)
    elif radius == 8:
        config.method.update(eps=24 / 255, lam=0.2, lam_end=0.002)
    else:
        config.method.update(eps=8 / 255, lam=1.0, lam_end=0.01)
    config.optim.update(name="adamw", lr=0.02, b1=0.9, b2=0.99, eps=1e-10)
    config.optim.update(
        weight_decay=0.02, decay_only=("scale", "head") if mlp else ("scale",)
    )
    config.data.update(
        name="cifar10",
        batch=512,
        epochs=3000 * times,
        epoch_images=EPOCH_IMAGES,
        generated_count=COUNT[generated],
    )
    config.data.augment.update(crop=3, crop_fill="edge", flip=True)
    config.checkpoint.every_epochs = 50
    config.certify.update(
        name="interval",
        batch=200,
        radii=(0.0, 1 / 255, 2 / 255, 4 / 255, 8 / 255, 12 / 255, 16 / 255),
    )
    if not row.narrow:
        _reference(config, (radius, mlp), row.nodrop, generated, times)
    config.tiny = dict(
        data=dict(name="digits", epochs=3, epoch_images=8, batch=8, generated_count=0),
        model=dict(image_shape=(8, 8, 1), width=16, mean=(0.3,), std=0.37),
        method=dict(p_start=1.0, p_end=2.0, eps_end=1.0 if mlp else 0.0),
    )
    if mlp:
        config.tiny.model.hidden = 8
    return config


def _reference(config, key, nodrop, generated, times):
    paper, table, numbers = "Altstidl et al. 2023", "1", None
    if key == (8, False):
        column = list(COUNT).index(generated)
        numbers = TABLE_1[not nodrop, times][column]
    plain = generated == "none" and times == 1 and not nodrop
    if plain:
        paper, table, numbers = "Zhang et al. 2022", "logs", LOGS[key]
    if numbers:
        config.reference.update(
            paper=paper,
            table=table,
            radius=key[0] / 255,
            clean=numbers[0],
            certified=numbers[1],
        )
