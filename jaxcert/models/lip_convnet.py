"""LipConvNet: the network of LOT (and SOC, Cayley, BRO) with a choice of orthogonal layer.

Singla and Feizi (2021); Xu, Li and Li (2022), section 5. Five stages; each halves the side
and doubles the channels with its last layer, a stride-2 one; the others have stride 1.
N = stages * blocks layers: LipConvnet-10, 20, 40 are blocks 2, 4, 8. The last stage works
on 2x2 images with 1x1 kernels. Residual variant: x <- (x + layer(x)) / 2 in the layers
between the first and the last of a stage.

Small images take fewer stages: 8x8 digits three. The side must be 2^stages.
"""

from __future__ import annotations

import importlib
import math
from types import ModuleType

import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.errors import InputError, above, one_of, whole_from, within
from jaxcert.interfaces import Model
from jaxcert.models._parts import (
    Averaged,
    bound_of,
    check_dtype,
    check_sizes,
    computed,
    of_normalisation,
)
from jaxcert.nn import adapter, lot
from jaxcert.nn._layer import missing_parts
from jaxcert.nn.activations import ACTIVATIONS
from jaxcert.nn.heads import LLN

SQRT2 = math.sqrt(2.0)


def make(
    *,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    blocks: int = 2,
    stages: int = 5,
    width: int = 32,
    conv: str = "lot",
    polar: str = "newton_schulz",
    activation: str = "maxmin",
    head: str = "orthogonal",
    residual: bool = False,
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465),
    std: float = 0.2507,
    dtype: str = "float32",
) -> Model:
    """Return the Model of a 1-Lipschitz network (times 1/std) in l2, of images
    [B,H,W,C] in [0,1] -> logits [B,K].

    conv: the file in jaxcert/nn with `Conv` and `Dense`; polar, for LOT alone:
    newton_schulz, as the original, or minimax, which takes a third of the work;
    activation: maxmin, hh1, hh2;
    head: orthogonal or lln (last-layer normalisation, for many classes). dtype: see
    models/liresnet.py; Fourier transforms and products over frequencies stay float32.
    Raises InputError for sizes at which a layer is undefined.
    """
    check_sizes(image_shape, num_classes, width)
    check_dtype(dtype)
    _check_stages(image_shape, stages)
    if len(mean) != image_shape[2]:
        raise InputError(
            f"model.mean has {len(mean)} values for {image_shape[2]} channels."
        )
    one_of(ACTIVATIONS, of="model", activation=activation)
    one_of(("orthogonal", "lln"), of="model", head=head)
    features = width * 2**stages
    if head == "orthogonal" and num_classes > features:
        raise InputError(
            f"an orthogonal head has at most its {features} inputs as classes, not "
            f"{num_classes}: use model.head=lln."
        )
    whole_from(1, of="model", blocks=blocks)
    if width % 2 and blocks > 1:
        raise InputError(
            f"model.width must be even, not {width}: activations pair its channels."
        )
    if polar not in (lot.POLAR if conv == "lot" else lot.POLAR[:1]):
        raise InputError(
            f"model.polar is {', '.join(lot.POLAR)} for model.conv=lot and stays "
            f"{lot.POLAR[0]} for other layers: not {polar!r} with {conv!r}."
        )
    above(0, of="model", std=std)
    for value in mean:
        within("(-inf, inf)", of="model", mean=value)
    _layers_of(conv)
    module = LipConvNet(
        conv=conv,
        polar=polar,
        blocks=blocks,
        stages=stages,
        width=width,
        activation=activation,
        head=head,
        num_classes=num_classes,
        residual=residual,
        mean=tuple(mean),
        std=std,
        dtype=dtype,
    )
    return adapter.from_linen(
        module, image_shape=image_shape, num_classes=num_classes, norm="l2"
    )


def _check_stages(image_shape, stages: int) -> None:
    """Raises InputError, with the stages that fit, unless they halve the side to 1."""
    side, columns, channels = image_shape
    if isinstance(stages, int) and side == columns == 2**stages:
        return
    fits = max(1, (max(side, columns) - 1).bit_length())
    advice = f"set config.model.stages={fits}"
    if not side == columns == 2**fits:
        advice += (
            f" and config.model.image_shape={2**fits},{2**fits},{channels}, with "
            f"config.data.pad={2**fits}"
        )
    raise InputError(
        f"lip_convnet with {stages} stages halves the side to 1 and needs images of "
        f"{2**stages}x{2**stages}, not {side}x{columns}: {advice}."
    )


def _layers_of(conv: str) -> ModuleType:
    """Return the module of jaxcert/nn of that name. Raises InputError if it has no such
    layers, or if they do not state everything that a certificate needs."""
    try:
        file = importlib.import_module(f"jaxcert.nn.{conv}")
        layers = file.Conv, file.Dense
    except (ModuleNotFoundError, AttributeError):
        raise InputError(
            f"no orthogonal layer is called {conv!r} in jaxcert/nn: give the name of a file "
            "there that has Conv and Dense, such as lot."
        ) from None
    for layer in layers:
        if missing := missing_parts(layer):
            raise InputError(
                f"{layer.__name__} of jaxcert/nn/{conv}.py does not state "
                f"{', '.join(missing)}, without which nothing is proven: define it as Layer "
                "in jaxcert/nn/_layer.py says."
            )
    return file


class LipConvNet(nn.Module):
    """The flax module of the network, see above."""

    conv: str
    polar: str
    blocks: int
    stages: int
    width: int
    activation: str
    head: str
    num_classes: int
    residual: bool
    mean: tuple[float, ...]
    std: float
    dtype: str = "float32"

    def setup(self):
        layers = _layers_of(self.conv)
        option = dict(polar=self.polar) if self.conv == "lot" else {}
        act = ACTIVATIONS[self.activation]
        for stage in range(1, self.stages + 1):
            width = self.width * 2 ** (stage - 1)
            last = stage == self.stages
            convs = [layers.Conv(width, **option) for _ in range(self.blocks - 1)]
            k = 1 if last else 3
            convs.append(layers.Conv(2 * width, kernel_size=k, stride=2, **option))
            setattr(self, f"conv{stage}", convs)
            setattr(self, f"act{stage}", [act() for _ in convs])
        features = self.width * 2**self.stages
        if self.head == "lln":
            self.last = LLN(self.num_classes, features)
        else:
            self.last = layers.Dense(self.num_classes, **option)

    def __call__(self, x, train=False):
        dtype = x.dtype
        x = computed((x - jnp.asarray(self.mean, dtype)) / self.std, self.dtype)
        kernels = self._orthogonal_kernels(x.dtype) if self.conv == "lot" else {}
        for convs, acts in self._stages():
            for i, (conv, act) in enumerate(zip(convs, acts, strict=True)):
                q = kernels.get(conv.name)
                y = act(conv(x) if q is None else conv(x, q))
                x = (x + y) / 2 if self._is_residual(i) else y
        return self.last(x.reshape(x.shape[0], -1).astype(dtype))

    def lipschitz(self, train=False):
        """Return the constants [K,K]: every layer counts as exactly 1-Lipschitz, as in
        the paper."""
        if self.head == "lln":
            return self.last.pairwise() / self.std
        return jnp.full((self.num_classes, self.num_classes), SQRT2 / self.std)

    def lipschitz_bound(self, tight=True, tell=None):
        """Return the bound from the prepared kernels, the product of their proven
        norms."""
        layers = [
            Averaged(conv) if self._is_residual(i) else conv
            for convs, _ in self._stages()
            for i, conv in enumerate(convs)
        ]
        if self.head == "lln":
            head = self.last.pairwise_bound()
        else:  # its rows are orthogonal, and e_i - e_j has the norm sqrt(2)
            layers.append(self.last)
            head = np.full((self.num_classes, self.num_classes), SQRT2)
        bound = bound_of(layers, head, tight=tight, tell=tell)
        layers = of_normalisation(self.std), *bound.layers
        return bound._replace(pairwise=bound.pairwise / self.std, layers=layers)

    def _orthogonal_kernels(self, dtype):
        sides = []
        for stage, (convs, _) in enumerate(self._stages()):
            side = 2 ** (self.stages - stage)
            sides += [(conv, side // conv.stride) for conv in convs]
        return lot.orthogonal_kernels(sides, dtype)

    def _stages(self):
        for stage in range(1, self.stages + 1):
            yield getattr(self, f"conv{stage}"), getattr(self, f"act{stage}")

    def _is_residual(self, layer: int) -> bool:
        return self.residual and 0 < layer < self.blocks - 1
