"""ResNet-50 on ImageNet for randomized smoothing.

    python -m jaxcert.train --config configs/smoothing/imagenet.py:smoothadv,0.50 \\
        --config.data.name=npy:DIR --workdir runs/imagenet_smoothadv_0.50

Words after the colon: the noise 0.25 | 0.50 | 1.00; gaussian | smoothadv | macer |
consistency (0.50 and 1.00) | smoothmix (0.50 and 1.00) | catrs (1.00) | sun; bf16; for
smoothadv: eps127 | eps255 | eps512 | eps1024 | eps2048 (of 256), ddn (2 steps; otherwise
PGD, 1 step).

`npy:DIR` or `folder:DIR` holds images of 224x224 (jaxcert/data/files.py), as `test` the
validation set in the order of its class folders: every 100th image is certified, 500 in
all. The recipe is that of Cohen et al. (2019): batch 256, rate 0.1, divided by 10 every
30 of 90 epochs. Of the others:

- smoothadv: Salman et al. (2019) train all these eps with PGD, up to eps1024 with DDN,
  and report the best at each radius; without a word eps is that of the PGD model that
  is best at most radii of its noise.
- consistency: Jeong & Shin (2020).
- catrs: Jeong et al. (2023); one more division of the rate at epoch 85. Its first model
  is gaussian,0.25 in runs/imagenet_gaussian_0.25, then PREDICT as in cifar10.py.
- sun: one division of the rate, at epoch 50. Images are discarded before epoch 0 by the
  votes of another model, n = 50 each; the authors do not say which one; here it is
  gaussian at the same noise in runs/imagenet_gaussian_NOISE, then PREDICT as in
  cifar10.py. In their logs ACR is 0.529, 0.842 and 1.043.
- macer: Zhai et al. (2020) train 120 epochs. Their code has no settings for ImageNet;
  two noises an image, lbd 6, 3, 3 and a rate divided every 30 epochs are from their paper
  as we know it, which we could not compare again.
- smoothmix: its code says that ImageNet is done in a similar way, no more; here the
  settings of CIFAR-10 with the schedule of Cohen et al. In their logs ACR is 0.846 and
  1.047.

We have not run these rows.
"""

from jaxcert.configs.smoothing import cifar10

# three values: at sigma 0.25, 0.5, 1.0; None: not published
METHODS = {
    "gaussian": dict(m=1),
    "smoothadv": dict(
        m=1,
        eps=(255 / 256, 255 / 256, 512 / 256),
        attack="pgd",
        steps=1,
        warmup_epochs=1,
    ),
    "macer": dict(m=2, lbd=(6.0, 3.0, 3.0), beta=16.0, gamma=8.0, start_epoch=0),
    "smoothmix": dict(
        m=2,
        steps=4,
        step_size=(None, 1.0, 2.0),
        eta=5.0,
        mix_step=1,
        warmup_epochs=10,
    ),
    "consistency": dict(
        m=2,
        lbd=5.0,
        eta=(None, 0.5, 0.1),
        eps=0.0,
        steps=10,
        warmup_epochs=10,
        form="kl",
    ),
    "catrs": dict(
        m=2,
        lbd=(None, None, 2.0),
        eps=1.0,
        steps=1,
        confidence_mask=True,
        double_eps_epoch=80,
        soft_labels="runs/imagenet_gaussian_0.25/train.jsonl",
    ),
    "sun": dict(
        m=(1, 1, 2),
        steps=(2, 2, 1),
        eps=(0.5, 1.0, 2.0),
        norm="l2",
        start_epoch=0,
        p_t=(0.2, 0.2, 0.1),
        discard=True,
        reweight=False,
        adversarial=True,
        votes=tuple(
            f"runs/imagenet_gaussian_{sigma}/train.jsonl"
            for sigma in cifar10.WORDS["sigma"]
        ),
    ),
}
MILESTONES = {
    "macer": (30 / 120, 60 / 120, 90 / 120),
    "catrs": (30 / 90, 60 / 90, 85 / 90),
    "sun": (50 / 90,),
}
WORDS = {
    "sigma": cifar10.WORDS["sigma"],
    "method": {name: name for name in METHODS},
    "eps": {f"eps{eps}": eps / 256 for eps in (127, 255, 512, 1024, 2048)},
    "attack": {"ddn": "ddn"},
    "dtype": cifar10.WORDS["dtype"],
}
PGD, NOISE = list(WORDS["eps"]), list(WORDS["sigma"])
ROWS = (
    *(f"gaussian,{sigma}" for sigma in NOISE),
    *(f"gaussian,{sigma},bf16" for sigma in NOISE),
    *(f"smoothadv,{sigma},{eps}" for sigma in NOISE for eps in PGD),
    *(f"smoothadv,{sigma},ddn,{eps}" for sigma in NOISE for eps in PGD[:-1]),
    *(f"macer,{sigma}" for sigma in NOISE),
    *(
        f"{name},{sigma}"
        for name in ("consistency", "smoothmix")
        for sigma in NOISE[1:]
    ),
    "catrs,1.00",
    *(f"sun,{sigma}" for sigma in NOISE),
)


def get_config(arg=""):
    row = cifar10.given(arg, WORDS)
    method = cifar10.settings(row, METHODS)
    if method.get("attack") == "ddn":
        method["steps"] = 2
    config = cifar10.smoothing(method, images=1_281_167)
    config.model = dict(
        name="resnet50",
        num_classes=1000,
        image_shape=(224, 224, 3),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        dtype=row.get("dtype", "float32"),
    )
    macer = method["name"] == "macer"
    config.data.update(name="npy:data/imagenet", epochs=120 if macer else 90)
    if macer:
        config.data.batch = 256
    config.data.augment.update(resized_crop=True, flip=True)
    config.optim.milestones = MILESTONES.get(method["name"], (30 / 90, 60 / 90))
    config.checkpoint.every_epochs = 1
    config.certify.step = 100
    config.tiny.model = dict(
        stages=(1, 1),
        num_classes=10,
        width=4,
        image_shape=(8, 8, 1),
        mean=(0.3,),
        std=(0.37,),
    )
    config.tiny.data.augment = dict(resized_crop=False, flip=False)
    config.tiny.certify.step = 1
    return config
