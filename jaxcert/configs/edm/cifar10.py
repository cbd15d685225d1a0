"""EDM on CIFAR-10: Karras et al. (2022), Table 7, the DDPM++ and NCSN++ networks.

    python -m jaxcert.train --config configs/edm/cifar10.py:dropped,bf16 --workdir runs/edm
    python -m jaxcert.generate --workdir runs/edm --out generated/edm --count 1000000 --steps 20

The 20 steps are those of the sets of Wang et al. (2023); Karras et al. take 18 for their FID.
Words after the colon: ddpmpp | ncsnpp; uncond (without classes); dropped (a tenth of
the labels is left out, so that the network also denoises without a class, as the
diffusion classifiers need; not in the paper); bf16; small (a network of 5.0 million
parameters and a schedule of 2 million images, for an hour of a GPU; ours) | laptop (0.7
million parameters and 7 epochs, for a CPU; ours).

FID in the paper: 1.79 with classes, 1.97 without (ddpmpp), 200 million images, two days
of 8 V100. We have run none of that size. `dropped,laptop` took 104 minutes of a core, and its
network is edm-cifar10-laptop of the zoo. Weights published by the authors: `jaxcert.import_torch`.
"""

from jaxcert.config import base, words

WORDS = {
    "kind": ("ddpmpp", "ncsnpp"),
    "uncond": ("uncond",),
    "dropped": ("dropped",),
    "bf16": ("bf16",),
    "size": ("small", "laptop"),
}
ROWS = (
    *WORDS["kind"],
    *(f"{kind},uncond" for kind in WORDS["kind"]),
    "dropped",
    "bf16",
    "dropped,bf16",
    "small",
    "small,dropped,bf16",
    "laptop",
    "dropped,laptop",
)
MILLION = 1_000_000


def get_config(arg=""):
    row = words(arg, **WORDS)
    config = edm(images=50_000, million=200, ramp=10, batch=512)
    config.model = dict(
        name="edm_unet",
        kind=row.kind or "ddpmpp",
        num_classes=0 if row.uncond else 10,
        image_shape=(32, 32, 3),
        width=128,
        multipliers=(2, 2, 2),
        blocks=4,
        attention=(16,),
        embedding=4,
        dropout=0.13,
        label_dropout=0.1 if row.dropped else 0.0,
        augment_labels=9,
        dtype="bfloat16" if row.bf16 else "float32",
    )
    config.data.name = "cifar10"
    config.data.augment.update(pipe="edm", pipe_probability=0.12)
    if row.size == "laptop":
        config.model.update(width=24, multipliers=(1, 2, 2), blocks=1, dropout=0.0)
        config.data.update(batch=64, epochs=7)
        config.data.augment.pipe_probability = 0.0
        config.optim.warmup_steps = 500.0
        config.ema_halflife = 0.02 * MILLION
        config.checkpoint.every_epochs = 1
    if row.size == "small":
        config.model.update(width=48, blocks=2)
        config.data.update(batch=256, epochs=40)
        config.optim.warmup_steps = 500.0
        config.ema_halflife = 0.1 * MILLION
    config.tiny.model = dict(width=8, multipliers=(1,), attention=(), blocks=1)
    config.tiny.model.update(image_shape=(8, 8, 1))
    return config


def edm(*, images, million, ramp, batch):
    """Return what the data sets have in common: the loss and the optimizer, with
    `million` images in all and a learning rate that rises over the first `ramp`
    million."""
    config = base()
    config.method = dict(name="edm", P_mean=-1.2, P_std=1.2)
    config.data.update(batch=batch, epochs=round(million * MILLION / images))
    config.optim.update(
        name="adam", lr=1e-3, schedule="warmup", warmup_steps=ramp * MILLION / batch
    )
    config.ema_halflife = 0.5 * MILLION
    config.checkpoint.every_epochs = 10
    config.tiny = dict(
        data=dict(
            name="digits", batch=8, epoch_images=24, epochs=1, augment=dict(pipe="")
        ),
        optim=dict(warmup_steps=1.0),
    )
    return config
