"""SortNet with a tanh head on 64x64 images, Zhang et al. (2022): radius 1/255.

    python -m jaxcert.train --config configs/sortnet/imagenet.py:tiny_imagenet \\
        --config.data.name=folder:DIR --workdir runs/sortnet_tiny_imagenet

Words after the colon: tiny_imagenet (TinyImageNet, 200 classes) | imagenet64 (ImageNet
at 64x64, 1,000 classes). `folder:DIR` holds train/CLASS/*.png and test/CLASS/*.png (see
jaxcert/data/files.py). The best of the paper's logs: 24.17 clean and 17.92 certified,
13.48 and 9.02. Its variants with a strided distance convolution have no rows. We have
not run these.
"""

from jaxcert.config import rows, words
from jaxcert.configs.sortnet import cifar10

WORDS = {"data": ("tiny_imagenet", "imagenet64")}
ROWS = rows(WORDS)


def get_config(arg=""):
    data = words(arg, **WORDS).data or "tiny_imagenet"
    tiny = data == "tiny_imagenet"
    config = cifar10.get_config("8,mlp")
    config.model.update(
        image_shape=(64, 64, 3),
        num_classes=200 if tiny else 1000,
        hidden=512 if tiny else 2048,
        rho=0.3,
        mean=(0.4802, 0.4481, 0.3975) if tiny else (0.4815, 0.4578, 0.4082),
        std=0.2276 if tiny else 0.2128,
    )
    config.method.update(
        eps=1.1 / 255,
        p_start=100.0 if tiny else 30.0,
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
    clean, certified = (24.17, 17.92) if tiny else (13.48, 9.02)
    config.reference.update(
        paper="Zhang et al. 2022",
        table="logs",
        radius=1 / 255,
        clean=clean,
        certified=certified,
    )
    config.tiny.model.num_classes = 10
    return config
