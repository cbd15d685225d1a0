"""Geometric augmentation of a diffusion model's training images, with labels.

Karras, Aittala, Aila and Laine, Elucidating the Design Space of Diffusion-Based Generative
Models (2022), Appendix F.2. The network is told how each image was moved, so samples that
are drawn with the label 0 are not moved. Each row is active with probability p, except that
the mirror is tossed for every image (unless p is 0); u is uniform in [0, 1), n normal:

| transformation, in this order | by | labels |
| mirror left-right, top-bottom | 1/2 each | 1, 1 if mirrored |
| enlarge | 2^(0.2 n) | n |
| rotate | r = pi (2 u - 1) | cos r - 1, sin r |
| stretch along an axis, shrink across it | 2^(0.2 n) | n cos a, n sin a |
| move, x and y | 0.125 n of the side | n, n |

The axis is at an angle a = pi (2 u - 1), or half the time a = 0.

`edm` does all of it in one warp of an image continued by its mirror image: enlarged 2x by
the low-pass filter of the wavelet sym6, sampled bilinearly at 2x, made smaller by the same
filter, which undoes the enlarging. It is continued by side - 1 pixels in each direction,
where the original adapts this to the batch and takes that at most; beyond is grey. `shift`
is cheaper: the left-right mirror and moves by whole pixels, with the same labels.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcert.interfaces import Array, Key

LABELS = 9

_SYM6 = np.array(
    [
        0.015404109327027373,
        0.0034907120842174702,
        -0.11799011114819057,
        -0.048311742585633,
        0.4910559419267466,
        0.787641141030194,
        0.3379294217276218,
        -0.07263752278646252,
        -0.021060292512300564,
        0.04472490177066578,
        0.0017677118642428036,
        -0.007800708325034148,
    ]
)
_MARGIN = len(_SYM6) // 4  # pixels around the output that its filter reads
_SCALE, _MOVE, _ALWAYS = 0.2, 0.125, 1e8


class Draws(NamedTuple):
    """Random numbers for B images, [B] each. A gate below p makes its transformation of
    that image active."""

    mirror_x: Array
    """0 or 1, as mirror_y"""
    mirror_x_gate: Array
    mirror_y: Array
    mirror_y_gate: Array
    scale: Array
    """normal, as stretch and move"""
    scale_gate: Array
    rotation: Array
    """uniform in [0, 1), as stretch_angle and all gates"""
    rotation_gate: Array
    stretch: Array
    stretch_angle: Array
    stretch_gate: Array
    stretch_angle_gate: Array
    """below 1/2: the axis is turned"""
    move: Array
    """[B,2]: x, y"""
    move_gate: Array


def draw(key: Key, size: int) -> Draws:
    """Draw the random numbers for `size` images."""
    keys = jax.random.split(key, 3)
    coin = jax.random.bernoulli(keys[0], shape=(2, size)).astype(jnp.float32)
    u = jax.random.uniform(keys[1], (9, size))
    n = jax.random.normal(keys[2], (4, size))
    return Draws(
        mirror_x=coin[0],
        mirror_x_gate=u[0],
        mirror_y=coin[1],
        mirror_y_gate=u[1],
        scale=n[0],
        scale_gate=u[2],
        rotation=u[3],
        rotation_gate=u[4],
        stretch=n[1],
        stretch_angle=u[5],
        stretch_gate=u[6],
        stretch_angle_gate=u[7],
        move=n[2:].T,
        move_gate=u[8],
    )


def edm(image: Array, draws: Draws, probability: float) -> tuple[Array, Array]:
    """Images in [-1, 1], [B,H,W,C] -> (moved images, labels [B,9]). The filter overshoots:
    the images that come out may leave [-1, 1] a little."""

    def active(gate: Array, value: Array) -> Array:
        return jnp.where(gate < probability, value, 0.0)

    d = draws
    mirror_x = _mirror_x(d, probability)
    mirror_y = active(d.mirror_y_gate, d.mirror_y)
    scale = active(d.scale_gate, d.scale)
    r = active(d.rotation_gate, jnp.pi * (2 * d.rotation - 1))
    stretch = active(d.stretch_gate, d.stretch)
    a = jnp.pi * (2 * d.stretch_angle - 1)
    a = jnp.where(d.stretch_angle_gate < 0.5, a, 0.0)
    move = active(d.move_gate[:, None], d.move)
    # from a place in the output to its place in the input, x before y
    smaller, wider = 2 ** (-_SCALE * scale), 2 ** (_SCALE * stretch)
    source = jnp.einsum(
        "bij,bjk,bkl->bil",
        _turn(r - a),
        _diagonal(smaller / wider, smaller * wider),
        _turn(a),
        precision="highest",
    )
    labels = [mirror_x, mirror_y, scale, jnp.cos(r) - 1, jnp.sin(r)]
    labels += [stretch * jnp.cos(a), stretch * jnp.sin(a), move[:, 0], move[:, 1]]
    sides = jnp.array(image.shape[2:0:-1])
    # not by the warp: its filter is not symmetric
    image = _where(mirror_x, image[:, :, ::-1], image)
    image = _where(mirror_y, image[:, ::-1], image)
    return _warp(image, source, _MOVE * sides * move), jnp.stack(labels, 1)


def shift(image: Array, draws: Draws, probability: float) -> tuple[Array, Array]:
    """As `edm`, with the left-right mirror and moves by whole pixels only. The labels of a
    move say what it was after rounding."""
    b, h, w, c = image.shape
    sides = jnp.array([w, h])
    mirror = _mirror_x(draws, probability)
    active = (draws.move_gate < probability)[:, None]
    move = jnp.where(active, jnp.round(_MOVE * sides * draws.move), 0.0)
    move = jnp.clip(move, 1 - sides, sides - 1)
    labels = jnp.zeros((b, LABELS), move.dtype).at[:, 0].set(mirror)
    labels = labels.at[:, 7:].set(move / (_MOVE * sides))
    image = _where(mirror, image[:, :, ::-1], image)
    step = move.astype(int)
    x = _reflect(jnp.arange(w) - step[:, :1], w)
    y = _reflect(jnp.arange(h) - step[:, 1:], h)
    moved = jax.vmap(lambda pixels, y, x: pixels[y[:, None], x])(image, y, x)
    return moved, labels


def _mirror_x(draws: Draws, probability: float) -> Array:
    always = draws.mirror_x_gate < _ALWAYS * probability
    return jnp.where(always, draws.mirror_x, 0.0)


def _where(chosen: Array, yes: Array, no: Array) -> Array:
    return jnp.where(chosen[:, None, None, None] > 0, yes, no)


def _warp(image: Array, source: Array, move: Array) -> Array:
    """out(z) = image(source (z - move)), z in pixels from the centre: image [B,H,W,C],
    source [B,2,2], move [B,2]."""
    h, w = image.shape[1:3]
    up = jnp.asarray(_enlarge(h), image.dtype), jnp.asarray(_enlarge(w), image.dtype)
    down = jnp.asarray(_reduce(h), image.dtype), jnp.asarray(_reduce(w), image.dtype)
    fine = jnp.einsum("yh,xw,bhwc->byxc", *up, image, precision="highest")
    y, x = jnp.meshgrid(_places(h), _places(w), indexing="ij")
    z = jnp.stack([x, y], -1) - move[:, None, None]
    z = jnp.einsum("bij,byxj->biyx", source, z, precision="highest")
    x, y = 2 * z[:, 0] + _centre(w), 2 * z[:, 1] + _centre(h)

    def sample(pixels: Array, y: Array, x: Array) -> Array:  # zero outside
        return jax.scipy.ndimage.map_coordinates(pixels, [y, x], order=1)

    channels = jax.vmap(sample, in_axes=(2, None, None), out_axes=2)
    fine = jax.vmap(channels)(fine, y, x)
    out = jnp.einsum("hy,wx,byxc->bhwc", *down, fine, precision="highest")
    return out.astype(image.dtype)


def _enlarge(side: int) -> np.ndarray:
    """Return the matrix [2 (3 side - 2), side] that continues a row of pixels by side -
    1 mirrored ones on either end, then filters it at twice the resolution; pixel k
    comes to lie at 2 k."""
    continued = np.pad(np.eye(side), ((side - 1, side - 1), (0, 0)), mode="reflect")
    n, k = np.indices((2 * len(continued), len(continued)))
    return _taps(n - 2 * k + len(_SYM6) // 2 - 1) @ continued


def _reduce(side: int) -> np.ndarray:
    """Return the matrix [side, 2 (side + 6)] that filters a row of samples at `_places`
    to its pixels."""
    k, n = np.indices((side, 2 * (side + 2 * _MARGIN)))
    return _taps(n - 2 * (k + _MARGIN) + len(_SYM6) // 2 - 1)


def _taps(t: np.ndarray) -> np.ndarray:
    inside = (t >= 0) & (t < len(_SYM6))
    return np.where(inside, _SYM6[np.clip(t, 0, len(_SYM6) - 1)], 0.0)


def _places(side: int) -> np.ndarray:
    """Return the places of the samples that are taken, in pixels from the centre: two
    per pixel."""
    count = 2 * (side + 2 * _MARGIN)
    return (np.arange(count) - (count - 2) / 2) / 2


def _centre(side: int) -> int:
    """Return the index of the centre in the enlarged row."""
    return 3 * (side - 1)


def _diagonal(x: Array, y: Array) -> Array:
    """Return diagonal matrices [B,2,2] of two numbers [B]."""
    return jnp.stack([x, y], -1)[:, None] * jnp.eye(2)


def _turn(angle: Array) -> Array:
    """Return rotations [B,2,2]."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], -1), jnp.stack([sin, cos], -1)], -2)


def _reflect(position: Array, side: int) -> Array:
    """Return the position that mirroring at the border pixel gives for one up to side -
    1 pixels outside."""
    position = jnp.abs(position)
    return side - 1 - jnp.abs(side - 1 - position)
