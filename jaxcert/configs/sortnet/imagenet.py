"""SortNet with a tanh head on 64x64 images, Zhang et al. (2022): radius 1/255.

    python -m jaxcert.train --config configs/sortnet/imagenet.py:tiny_imagenet \\
        --config.data.name=folder:DIR --workdir runs/sortnet_tiny_imagenet

Words after the colon: tiny_imagenet (TinyImageNet, 200 classes) | imagenet64 (ImageNet
at 64x64, 1,000 classes); 2x (the first distances see four overlapping parts of 60x60, and
the head what comes of all four: 204,147,689 parameters for imagenet64). `folder:DIR` holds
train/CLASS/*.png and test/CLASS/*.png (see jaxcert/data/files.py). The best of the
paper's logs: 24.17 clean and 17.92 certified, 13.48 and 9.02; with 2x 25.69 and 18.18,
14.79 and 9.54. We have not run these.
"""

from jaxcert.config import rows, words
from jaxcert.configs.sortnet import cifar10

WORDS = {"data": ("tiny_imagenet", "imagenet64"), "parts": ("2x",)}
ROWS = rows(WORDS)
LOGS = {  # (tiny_imagenet, 2x): clean, certified
    (True, False): (24.17, 17.92),
    (True, True): (25.69, 18.18),
    (False, False): (13.48, 9.02),
    (False, True): (14.79, 9.54),
}


def get_config(arg=""):
    row = words(arg, **WORDS)
    data = row.data or "tiny_imagenet"
    tiny = data == "tiny_imagenet"
    config = cifar10.get_config("8,mlp")
    config.model.update(
        image_shape=(64, 64, 3),
        num_classes=200 if tiny else 1000,
        hidden=512 if tiny else 2048,
        stride=4 if row.parts else 0,
        rho=0.3,
        mean=(0.4802, 0.4481, 0.3975) if tiny else (0.4815, 0.4578, 0.4082),
        std=0.2276 if tiny else 0.2128,
    )
    config.method.update(
        eps=1.1 / 255,
        p_start=100.0 if tiny else 50.0 if row.parts else 30.0,
        p_end=980.0 if tiny else 290.0,
        eps_end=500.0 if tiny else 200.0,
    )
    config.optim.lr = 0.02 if tiny else 0.01
    config.data.update(
        name="folder:data/" + data,
        batch=512 if tiny else 1024,
        epochs=1000 if tiny else 300,
        epoch_images=0,
    )
    config.data.augment.crop = 5 if tiny else 4
    config.certify.radii = (0.0, 0.5 / 255, 1 / 255, 2 / 255)
    clean, certified = LOGS[tiny, bool(row.parts)]
    config.reference.update(
        paper="Zhang et al. 2022",
        table="logs",
        radius=1 / 255,
        clean=clean,
        certified=certified,
    )
    config.tiny.model.num_classes = 10
    if row.parts:
        config.tiny.model.stride = 2
    return config
