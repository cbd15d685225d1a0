"""LOT on the 8x8 optical digits: trained and certified in two minutes on a laptop.

python -m jaxcert.train --config configs/quickstart.py --workdir runs/quickstart
"""

from jaxcert.config import base, words

WORDS = {}
ROWS = ()


def get_config(arg=""):
    words(arg, **WORDS)
    config = base()
    config.model = dict(
        name="lip_convnet",
        image_shape=(8, 8, 1),
        num_classes=10,
        stages=3,
        blocks=2,
        width=16,
        conv="lot",
        activation="hh1",
        head="orthogonal",
        residual=False,
        mean=(0.3,),
        std=0.25,
    )
    config.method = dict(name="lot", gamma=0.5)
    config.data.update(name="digits", batch=100, epochs=30)
    config.optim.update(name="sgd", lr=0.1, momentum=0.9, schedule="cosine")
    config.checkpoint.every_epochs = 5
    config.certify.update(
        name="lipschitz",
        batch=200,
        radii=(0.0, 36 / 255, 0.25, 0.5, 1.0),
        after_training=True,
    )
    config.tiny = dict(data=dict(epochs=1, epoch_images=300), model=dict(width=4))
    return config
