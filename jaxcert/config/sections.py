"""The sections of a config, and the value of each key where a config file gives none."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder


def base() -> ConfigDict:
    """Return the sections and defaults that every config file starts from."""
    return ConfigDict(
        dict(
            seed=0,
            model=dict(name="", image_shape=(8, 8, 1), num_classes=10),
            method=dict(name=""),
            data=_data(),
            optim=dict(
                name="sgd",  # sgd | adam | adamw | nadam
                lr=0.1,
                momentum=0.9,
                b1=0.9,
                b2=0.999,
                eps=1e-8,
                weight_decay=0.0,
                decay_only=(),  # names of parameters; none: all decay
                factors=dict(),  # on the learning rate, by name of a parameter
                schedule="cosine",  # constant | cosine | multistep | warmup | warmup_cosine
                milestones=(0.5, 0.75),  # of all steps; each divides the rate by 10
                warmup_epochs=0,
                warmup_steps=0.0,  # of schedule warmup, before accumulation
                clip_norm=0.0,  # 0: off
                accumulate=1,  # micro-batches per optimizer step
                lookahead=False,
                lookahead_steps=6,  # between two synchronisations
            ),
            init="",  # workdir of a network of the same shape, which starts the run
            ema=0.0,  # decay of the averaged weights; 0: off
            ema_halflife=0.0,  # or their half-life in images, shorter at first; 0: off
            # of float32 products of layers: default of the device (TF32) | highest | tf32x3
            precision="default",
            batch_statistics="global",  # or "device": training.step.on_each_device
            log=dict(every_steps=50),
            track="",  # programs that get the metrics as well: tensorboard,wandb,trackio
            # every_epochs 0: only at the end. keep: the newest. best: keep the best as well,
            # and certify it: [holdout: | test:]certified_R, as an evaluation writes it
            checkpoint=dict(every_epochs=1, keep=2, best=""),
            # every_epochs 0: off. images: at most, of each split (0: all that certify names).
            # share: of the time, at most (0, or with best: no limit). certify: overrides of
            # config.certify
            eval=dict(every_epochs=0, images=2000, share=0.05, certify=dict()),
            certify=dict(
                name="",
                split="test",
                start=0,
                stop=0,  # 0: to the end
                step=1,
                batch=100,  # an interruption loses at most these
                seed=0,
                radii=(0.0, 0.25, 0.5, 0.75, 1.0),
                after_training=False,
            ),
            # published numbers, in percent, for the report
            reference=dict(paper="", table="", radius=0.0, clean=0.0, certified=0.0),
            tiny=dict(),  # overrides, nested, that shrink the run to seconds
        )
    )


def _data() -> dict[str, Any]:
    return dict(
        # digits | mnist | cifar10 | cifar100 | cifar10_c:<corruption>[:<severity>] |
        # tfds:<name> | hf:<name> | npz:, npy:, folder:<path>
        name="digits",
        dir="",  # folder of the archives; empty: $JAXCERT_DATA or ~/.cache/jaxcert
        download=True,  # fetch an archive that is not there
        # short side to resize images to, and that of the square cut out of the centre if it is
        # another one: (224,) or (256, 224); none: as they are
        resize=(),
        pad=0,  # zero-pad images to this side (an isometry); 0: as they are
        holdout=0.0,  # training images kept out: a share below 1, or their number
        batch=256,
        epochs=1,
        epoch_images=0,  # images of any origin per epoch; 0: the real training set's
        generated="",  # npz of generated images, or a folder of their shards
        generated_share=0.7,  # of each batch: int(share * batch) generated images
        generated_count=0,  # sub-set drawn by seed; 0: all generated images
        order="continuous",  # continuous | wang: how the sources are walked
        placement="auto",  # auto | host | device | epoch (on the device, one program)
        augment=dict(  # in pixels
            crop=0,
            crop_fill="zero",
            flip=False,
            cutout=0,
            generated_crop=placeholder(int),  # None: as the real images
            randaugment=0.0,  # probability for a real image
            resized_crop=False,  # a random part enlarged to the whole image
            pipe="",  # edm | shift: with labels, for diffusion models
            pipe_probability=0.12,  # of each of its transformations
        ),
    )
