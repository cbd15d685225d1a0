"""LeNet on MNIST for randomized smoothing: the methods of configs/smoothing/cifar10.py.

    python -m jaxcert.train --config configs/smoothing/mnist.py:consistency,0.50 \\
        --workdir runs/mnist_consistency_0.50

Words after the colon: the noise 0.25 | 0.50 | 1.00; gaussian | stability | smoothadv |
macer | consistency | smoothmix | catrs | sun; m1 | m2 | m4 | m8 copies of each image;
attacked, for consistency: with SmoothAdv's attack first; small: a network that a laptop
trains by any method, 5 epochs, in minutes to half an hour. The recipe without it is
that of the papers with MNIST results (Jeong & Shin 2020 and after): batch 256, rate
0.01, divided by 10 every 30 of 90 epochs, no augmentation; for catrs every 50 of 150,
also for its first model: gaussian,0.25 with --config.data.epochs=150 into
runs/mnist_gaussian_0.25, then PREDICT as in cifar10.py.

- smoothmix: its authors have mix_step 0 or 1 and eta 1 or 5; here 1 and 5. With eta 1
  they take 3 steps at 0.25.
- sun: not in the paper on MNIST; its settings for CIFAR-10.
- small: fewer copies and steps, so that all methods cost a similar time; catrs takes its
  first votes (n = 100) from gaussian,0.25,small in runs/mnist_small_gaussian_0.25.
- catrs: its authors name lbd 1 at 0.25; here it is 1 at every noise.

Percent certified of every 40th test image with `small`, noise 0.50 (n = 10,000), and the
average radius:

                   0 0.25  0.5 0.75    1 1.25  1.5   ACR
    gaussian    58.8 40.4 27.2 18.4 11.2  5.2  0.0 0.327
    consistency 50.0 34.4 26.4 19.6 15.6 11.2  4.4 0.337
    macer       48.0 44.4 38.8 31.2 21.6 12.8  1.6 0.433
    smoothadv   37.2 29.6 25.2 19.2 16.4 14.4 13.2 0.337
    smoothmix   39.2 30.8 24.4 19.2 15.6 14.4 13.2 0.340
    catrs       29.6 28.0 25.6 23.2 22.0 20.0 15.2 0.369
    sun         42.8 34.8 28.4 21.6 17.2 15.6 14.4 0.374

We have not run the others; one CPU core certifies some 7,000 samples a second with
LeNet and 12,000 with `small`, so lower certify.n there.
"""

from jaxcert.configs.smoothing import cifar10

# three values: at sigma 0.25, 0.5, 1.0
METHODS = {
    "gaussian": dict(m=1),
    "stability": dict(m=1, lbd=2.0),
    "smoothadv": dict(m=4, eps=255 / 256, attack="pgd", steps=10, warmup_epochs=10),
    "macer": dict(m=16, lbd=(16.0, 16.0, 6.0), beta=16.0, gamma=8.0, start_epoch=31),
    "consistency": dict(
        m=2,
        lbd=(10.0, 5.0, 5.0),
        eta=0.5,
        eps=0.0,
        steps=10,
        warmup_epochs=10,
        form="kl",
    ),
    "consistency,attacked": dict(
        m=4,
        lbd=1.0,
        eta=0.5,
        eps=255 / 256,
        steps=10,
        warmup_epochs=10,
        form="kl",
    ),
    "smoothmix": dict(
        m=4, steps=(2, 4, 8), step_size=1.0, eta=5.0, mix_step=1, warmup_epochs=10
    ),
    "catrs": dict(
        m=4,
        lbd=1.0,
        eps=1.0,
        steps=4,
        soft_labels="runs/mnist_gaussian_0.25/train.jsonl",
        confidence_mask=False,
        double_eps_epoch=0,
    ),
    "sun": cifar10.METHODS["sun"],
}
SMALL = {
    "gaussian": dict(m=4),
    "smoothadv": dict(m=2, steps=4, warmup_epochs=2),
    "macer": dict(m=4, lbd=4.0, start_epoch=2),
    "smoothmix": dict(m=2, steps=4, eta=1.0, warmup_epochs=2),
    "catrs": dict(soft_labels="runs/mnist_small_gaussian_0.25/train.jsonl"),
    "sun": dict(start_epoch=2, steps=4, reweight_every=1, discard_n=50),
}
WORDS = {
    "sigma": cifar10.WORDS["sigma"],
    "method": {name: name for name in METHODS if "," not in name},
    "recipe": {"attacked": "attacked"},
    "m": cifar10.WORDS["m"],
    "size": {"small": "small"},
}
ROWS = (
    *(f"{name},{sigma}" for name in METHODS for sigma in WORDS["sigma"]),
    *(f"gaussian,{sigma},{m}" for sigma in WORDS["sigma"] for m in ("m2", "m4", "m8")),
    *(f"{name},{s},small" for name in WORDS["method"] for s in WORDS["sigma"]),
)


def get_config(arg=""):
    row = cifar10.given(arg, WORDS)
    method = cifar10.settings(row, METHODS)
    if "size" in row:
        method = cifar10.shrunk(method, SMALL, row)
    config = cifar10.smoothing(method, images=60_000)
    config.model = dict(name="lenet", num_classes=10, image_shape=(28, 28, 1))
    config.data.update(name="mnist", epochs=150 if method["name"] == "catrs" else 90)
    config.optim.lr = 0.01
    if method["name"] == "macer":
        config.data.batch = cifar10.LOADER_BATCH
    if "size" in row:
        config.model = dict(
            name="small_cnn",
            num_classes=10,
            image_shape=(28, 28, 1),
            width=8,
            mean=(0.13,),
            std=(0.31,),
        )
        config.data.epochs = 5
        if method["name"] == "macer":
            config.data.batch = 64
        cifar10.laptop(config)
    config.tiny.model = dict(name="small_cnn", image_shape=(8, 8, 1))
    return config
