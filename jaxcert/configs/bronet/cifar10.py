"""BRONet on CIFAR-10: Lai et al. (2025), BRONet-L with logit annealing.

    python -m jaxcert.train --config configs/bronet/cifar10.py --workdir runs/bronet

Words after the colon, in any order: generated images none | 4m (none; a batch is then 256
real and 768 generated ones), emma (the loss of LiResNet++; default logit annealing), fast
(two power steps for the stem; default ten, as the original), narrow (six blocks of width 32,
four dense layers of 256: a laptop's CPU).

Clean and certified accuracy at 36/255 are in `reference` where the paper prints them.
We have not run this width.

`five_minutes`, which stands alone, is six blocks of width 128 and four dense layers of 512,
with all images on the device and an epoch as one program: about five minutes of an H200, by
the counts of the compiled program (docs/accelerator.md). We have not run it.

`laptop`, which stands alone as well, has three blocks of width 64 and four dense layers of 256,
for one core: 82 core minutes, 76.7 % clean and 62.3 % at 36/255, proven, on all test images
(docs/results.md). It takes no lookahead, and five times the rate of the others.
"""

from jaxcert.config import rows, words
from jaxcert.configs.liresnet_pp import cifar10 as liresnet_pp

ANNEALING = dict(
    name="logit_annealing",
    eps=36 / 255,
    xi=2.0,
    temperature=0.75,
    beta=5.0,
    first=0.1,
    last=3.0,
)
PAPER = {"emma": (81.0, 70.2), "annealing": (81.6, 70.6)}
WORDS = {
    "generated": ("none", "4m"),
    "emma": ("emma",),
    "fast": ("fast",),
    "narrow": ("narrow",),
    "budget": {
        "five_minutes": dict(
            model=dict(depth=6, width=128, dense=512, dense_depth=4, power_steps=2),
            data=dict(epochs=200, placement="epoch"),
            optim=dict(warmup_epochs=5),
        ),
        "laptop": dict(
            model=dict(depth=3, width=64, dense=256, dense_depth=4, power_steps=2),
            method=dict(last=1.5),
            data=dict(
                epochs=36,
                epoch_images=0,
                holdout=1000.0,
                augment=dict(crop=2, randaugment=0.0),
            ),
            optim=dict(lr=5e-3, lookahead=False, warmup_epochs=2),
            eval=dict(every_epochs=3, images=1000),
            checkpoint=dict(every_epochs=3),
            certify=dict(after_training=True),
        ),
    },
}
ROWS = rows(WORDS)


def get_config(arg=""):
    row = words(arg, **WORDS)
    generated = row.generated == "4m"
    like = ("4m" * generated, "fast" * row.fast, "narrow" * row.narrow)
    config = liresnet_pp.get_config(",".join(filter(None, like)))
    config.model.update(name="bronet", ratio=0.5)
    if not row.emma:
        config.method = dict(ANNEALING)
    if not generated:
        config.optim.weight_decay = 4e-5
    config.reference.update(paper="", table="", radius=0.0, clean=0.0, certified=0.0)
    if row.budget:
        config.update(row.budget)
    elif not (generated or row.fast or row.narrow):
        clean, certified = PAPER["emma" if row.emma else "annealing"]
        config.reference.update(
            paper="Lai et al. 2025",
            table="1",
            radius=36 / 255,
            clean=clean,
            certified=certified,
        )
    return config
