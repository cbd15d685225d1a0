"""Denoisers of EDM: U-Nets with the preconditioning inside.

Karras, Aittala, Aila and Laine, Elucidating the Design Space of Diffusion-Based Generative
Models (2022, arXiv:2206.00364):

    D(x; sigma) = c_skip x + c_out F(c_in x; ln(sigma) / 4, class)      diffusion/edm.py

    kind     F                      embeds sigma by  encoder
    ddpmpp   DDPM++ (Song 2021)     sinusoids        plain
    ncsnpp   NCSN++ (Song 2021)     random Fourier   + the image, filtered, at every level
    adm      ADM (Dhariwal 2021)    sinusoids        plain

Level l has images of side H / 2^l and width * multipliers[l] channels:

    enc  conv | down, then `blocks` blocks          each output is kept
    dec  in0, in1 | up, then `blocks + 1` blocks    each reads one that was kept

There is attention in in0 and, at the sides in `attention`, in all blocks of the encoder
and in the last of a decoder's level (ADM: in all). Weights start as in the authors'
code. With the defaults and augment_labels=9, which is their CIFAR-10 network, there are
55.7 M.

Two things differ here: a class is an integer, where -1 for none stands for their vector
of zeros, and attention for which ADM's width gives no head is refused instead of
silently left out.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.diffusion import edm
from jaxcert.errors import InputError, one_of, whole_from, within
from jaxcert.interfaces import Array, Model
from jaxcert.models._parts import check_dtype, check_shape
from jaxcert.nn import group_norm, unet
from jaxcert.nn.adapter import from_linen

FAMILIES = {"ddpmpp": unet.DDPMPP, "ncsnpp": unet.NCSNPP, "adm": unet.ADM}


def make(
    kind: str = "ddpmpp",
    num_classes: int = 10,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    width: int = 128,
    multipliers: tuple[int, ...] = (2, 2, 2),
    blocks: int = 4,
    attention: tuple[int, ...] = (16,),
    embedding: int = 4,
    dropout: float = 0.13,
    label_dropout: float = 0.0,
    augment_labels: int = 0,
    dtype: str = "float32",
) -> Model:
    """Return the Model of a denoiser: apply(params, state, x [B,H,W,C] in [-1, 1], *,
    sigma [B], label [B], augment [B,augment_labels], train, key) -> (denoised
    [B,H,W,C], state).

    num_classes: 0 for a network without classes. label: int32, -1 for no class; None:
        no class for any image
    attention: sides of the images, falling
    embedding: width of the embedding, in multiples of `width`
    label_dropout: probability that training hides the class of an image; at 0 the
        network never learns -1
    augment_labels: how many numbers say how an image was augmented; augment None: not
        at all
    dtype: "bfloat16" for F inside; coefficients, sums and the result stay float32.
        Float64 images make all of it float64

    Raises InputError for settings that no such network can have.
    """
    multipliers, attention = tuple(multipliers), tuple(attention)
    module = EDMUNet(
        kind,
        num_classes,
        width,
        multipliers,
        blocks,
        attention,
        embedding,
        dropout,
        label_dropout,
        augment_labels,
        dtype,
    )
    _check(module, tuple(image_shape))
    return from_linen(
        module,
        image_shape=image_shape,
        num_classes=num_classes,
        unconditional=label_dropout > 0 or num_classes == 0,
        example=dict(sigma=np.ones(1, np.float32)),
    )


class EDMUNet(nn.Module):
    """The flax module; its fields are the arguments of `make`."""

    kind: str
    num_classes: int
    width: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    embedding: int
    dropout: float
    label_dropout: float
    augment_labels: int
    dtype: str

    def __call__(self, x, train: bool, *, sigma=None, label=None, augment=None):
        """Return the denoised x [B,H,W,C]."""
        if sigma is None:
            raise InputError(
                "model edm_unet is a denoiser, which needs sigma: train it with method 'edm'."
            )
        if train and self.label_dropout and label is not None:
            key = self.make_rng("dropout")
            hidden = jax.random.bernoulli(key, self.label_dropout, label.shape)
            label = jnp.where(hidden, -1, label)
        wide = jnp.promote_types(x.dtype, jnp.float32)
        x, sigma = x.astype(wide), jnp.asarray(sigma, wide)
        c = edm.preconditioning(sigma)
        c_skip, c_out, c_in = (
            a[:, None, None, None] for a in (c.c_skip, c.c_out, c.c_in)
        )
        f = self.raw(c_in * x, c.c_noise, label, augment, train)
        return c_skip * x + c_out * f.astype(wide)

    @nn.compact
    def raw(self, x, c_noise, label=None, augment=None, train: bool = False) -> Array:
        """Return F, in self.dtype unless x is float64."""
        family = FAMILIES[self.kind]
        embedding = Embedding(
            self.kind,
            self.width,
            self.embedding * self.width,
            self.num_classes,
            self.augment_labels,
            name="embedding",
        )(c_noise, label, augment)
        x, channels = x if x.dtype == jnp.float64 else x.astype(self.dtype), x.shape[-1]
        x = self._decoded(self._encoded(x, embedding, train), embedding, train)
        scaling = unet.group_norm(family, (x,), "out_norm")
        x = group_norm.apply(group_norm.silu, 0.0, (x,), scaling, None)
        return unet.conv(family, channels, x, "out_conv", train, last=True)

    def _levels(self, side: int) -> list[tuple[str, int, int]]:
        """Return the size, the channels and the heads of attention of each level."""
        heads = FAMILIES[self.kind].heads
        sides = [side >> i for i in range(len(self.multipliers))]
        widths = [self.width * m for m in self.multipliers]
        return [
            (f"{n}x{n}", c, heads(c) if n in self.attention else 0)
            for n, c in zip(sides, widths, strict=True)
        ]

    def _block(self, images, embedding, train, features, name, **kind) -> Array:
        block = unet.Block(
            FAMILIES[self.kind], features, dropout=self.dropout, name=name, **kind
        )
        return block(images, embedding, train)

    def _encoded(self, x, embedding, train) -> list[Array]:
        family, given, image, kept = FAMILIES[self.kind], (embedding, train), x, []
        for i, (size, features, heads) in enumerate(self._levels(x.shape[1])):
            if i == 0:
                first = features if self.kind == "adm" else self.width
                x = unet.conv(family, first, x, f"enc_{size}_conv", train)
            else:
                down = f"enc_{size}_down"
                x = self._block((x,), *given, x.shape[-1], down, resample="down")
                if self.kind == "ncsnpp":
                    name = f"enc_{size}_aux_residual"
                    x = image = _joined(family, x, image, name, train)
            kept.append(x)
            for j in range(self.blocks):
                name = f"enc_{size}_block{j}"
                x = self._block((x,), *given, features, name, heads=heads)
                kept.append(x)
        return kept

    def _decoded(self, kept: list[Array], embedding, train) -> Array:
        x, given = kept[-1], (embedding, train)
        levels = self._levels(x.shape[1] << len(self.multipliers) - 1)
        for i, (size, features, heads) in reversed(list(enumerate(levels))):
            if i == len(levels) - 1:
                always = FAMILIES[self.kind].heads(features)
                x = self._block((x,), *given, features, f"dec_{size}_in0", heads=always)
                x = self._block((x,), *given, features, f"dec_{size}_in1")
            else:
                up = f"dec_{size}_up"
                x = self._block((x,), *given, x.shape[-1], up, resample="up")
            for j in range(self.blocks + 1):
                attends = self.kind == "adm" or j == self.blocks
                name = f"dec_{size}_block{j}"
                x = self._block(
                    (x, kept.pop()), *given, features, name, heads=heads * attends
                )
        return x


class Embedding(nn.Module):
    """Embed (c_noise [B], label [B], augment [B,A] or None) as [B,features], in the
    type of c_noise."""

    kind: str
    width: int
    features: int
    num_classes: int
    augment_labels: int

    @nn.compact
    def __call__(self, c_noise, label, augment):
        family, adm = FAMILIES[self.kind], self.kind == "adm"
        if self.kind == "ncsnpp":
            e = unet.Fourier(2 * self.width, name="noise")(c_noise)
        else:
            e = unet.sinusoids(c_noise, self.width, adm=adm)
        if self.augment_labels:
            if augment is None:
                augment = jnp.zeros((len(e), self.augment_labels))
            e += nn.Dense(
                e.shape[-1],
                use_bias=False,
                kernel_init=family.last if adm else family.kernel,
                dtype=e.dtype,
                name="augment",
            )(augment)
        if label is None:
            label = jnp.full(len(e), -1)
        one_hot = jax.nn.one_hot(label, self.num_classes, dtype=e.dtype)  # -1: zeros
        if self.num_classes and not adm:
            one_hot *= math.sqrt(self.num_classes)
            e += unet.dense(family, e.shape[-1], one_hot, "label")
        e = nn.silu(unet.dense(family, self.features, e, "layer0"))
        e = unet.dense(family, self.features, e, "layer1")
        if self.num_classes and adm:
            e += nn.Dense(
                self.features,
                use_bias=False,
                kernel_init=nn.initializers.normal(1.0),
                dtype=e.dtype,
                name="label",
            )(one_hot)
        return nn.silu(e)


def _joined(family, x: Array, image: Array, name: str, train: bool) -> Array:
    """Return x plus the image of the level above, which is convolved before it is
    filtered."""
    border = (len(family.taps) - 2) // 2
    rim = ((0, 0), (border, border), (border, border), (0, 0))
    image = unet.conv(family, x.shape[-1], jnp.pad(image, rim), name, train)
    return (x + unet.downsample(image, family.taps, pad=False)) * family.scale


def _check(module: EDMUNet, image_shape: tuple[int, ...]) -> None:
    one_of(FAMILIES, of="model", kind=module.kind)
    check_dtype(module.dtype)
    check_shape(image_shape)
    for name in ("width", "blocks", "embedding"):
        whole_from(1, of="model", **{name: getattr(module, name)})
    for name in ("num_classes", "augment_labels"):
        whole_from(0, of="model", **{name: getattr(module, name)})
    for multiplier in module.multipliers:
        whole_from(1, of="model", multipliers=multiplier)
    if not module.multipliers:
        raise InputError(
            "model.multipliers is empty: give one a level, such as (1, 2)."
        )
    within("[0, 1)", of="model", dropout=module.dropout)
    within("[0, 1)", of="model", label_dropout=module.label_dropout)
    _check_levels(module, image_shape)


def _check_levels(module: EDMUNet, image_shape: tuple[int, ...]) -> None:
    side, factor = image_shape[0], 2 ** (len(module.multipliers) - 1)
    if image_shape[1] != side or side % factor:
        fewer = ", or give fewer multipliers" if image_shape[1] == side else ""
        raise InputError(
            f"images of {side}x{image_shape[1]} cannot be halved to "
            f"{len(module.multipliers)} levels: pad them to a square whose side is a "
            f"multiple of {factor}{fewer}."
        )
    widths = {side >> i: module.width * m for i, m in enumerate(module.multipliers)}
    for resolution in module.attention:
        if resolution not in widths:
            raise InputError(
                f"no level has attention's side {resolution}: there are "
                f"{', '.join(map(str, widths))}."
            )
        if not FAMILIES[module.kind].heads(widths[resolution]):
            raise InputError(
                f"attention at {resolution} has {widths[resolution]} channels and a head "
                "of ADM 64: give a larger width, or leave this side out."
            )
    for channels in (*map(widths.get, module.attention), widths[side // factor]):
        heads = FAMILIES[module.kind].heads(channels)
        if heads and channels % heads:
            raise InputError(
                f"{channels} channels do not divide into {heads} heads: take multiples "
                "of 64 from 128 channels up."
            )
