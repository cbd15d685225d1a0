"""What a network with a proven Lipschitz constant asks of its layers, and the shell of the
layers that LipConvNets take by name.

A file of such a layer writes one class with what is its paper's own, and mixes it into both
shells:

    class Foo(Parametrised):
        def on_images(self, x, k): ...      # [B,n,n,C], a kernel of k x k -> [B,n,n,features]
        def bound(self, tight=True): ...    # see Layer
        def proven_by(self, tight=True): ...   # see Layer
        def bias_gain(self): ...            # see Layer

    class Conv(Foo, ConvShell): ...
    class Dense(Foo, DenseShell): ...
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import numpy as np
from flax import linen as nn

from jaxcert.errors import InputError

Array = jax.Array


class Layer(Protocol):
    """A layer, or a stack of them, whose Lipschitz constant in l2 is proven.

    A layer states every part itself: there are no defaults, because a default that does not
    fit a layer is a certificate that does not hold. `missing_parts` lists what one lacks.

    What evaluation reads and training computes anew goes through `prepared` into the
    collection of that name. Vectors of power iteration lie in the collection `power`, which
    training passes alone may change.
    """

    def bounds(self, tight: bool = True) -> list[Callable[[], float]]:
        """Return a function that computes a proven upper bound of the Lipschitz
        constant of each layer of a stack, or of the single layer; the product of these
        bounds is one of the whole.

        It is called on the host, on prepared float64 variables, and rounds up; inf says
        that nothing could be proven. tight=False asks for bounds in seconds where tight
        ones take minutes.
        """
        ...

    def proven_by(self, tight: bool = True) -> str:
        """Return how `bounds` proves its bounds, as a record says it: "exact", "gram", "tight"
        or "torus" (docs/records.md)."""
        ...

    def bias_gain(self) -> float:
        """Return a bound of |f_b(x) - f_0(x)| / |b| over all images x, where f_0 is the layer
        without its biases and |b| the norm of the biases, each counted at every pixel.

        It is 1 where a bias is added to the output itself. A residual layer, which
        multiplies its bias by a kernel, can amplify it far more. The slack for rounding
        that a certificate subtracts from its margins grows with this number.
        """
        ...


class Estimated(Layer, Protocol):
    """A Layer whose constant is estimated in training, as in LiResNets."""

    def norm(self, train: bool) -> Array:
        """Return a differentiable estimate of the constants, [] or [depth] for a stack.

        It may lie below them, so that it serves losses and `radius_paper`, never `radius`.
        train=True may move the carried vector, train=False leaves it alone.
        """
        ...


class Head(Protocol):
    """The last layer, whose constants differ from pair to pair of classes."""

    def pairwise(self) -> Array:
        """Return the constants of z_i - z_j, [K,K], differentiable."""
        ...

    def pairwise_bound(self) -> np.ndarray:
        """Return the same as float64 upper bounds; inf where nothing could be proven."""
        ...


def missing_parts(layer: type, protocol: type = Layer) -> list[str]:
    """Return the parts of the protocol that a class of layers does not state."""
    parts = [name for name in dir(protocol) if not name.startswith("_")]
    parts += ["bound"] * issubclass(layer, Single)
    return [name for name in parts if not callable(getattr(layer, name, None))]


class Single(nn.Module):
    """A Layer that is no stack: it states `bound(tight) -> float` for `bounds`."""

    def bounds(self, tight: bool = True) -> list[Callable[[], float]]:
        """Return the function that computes the bound of this layer."""
        return [partial(self.bound, tight)]


def bias_at_output(layer: Any) -> float:
    """Return 1, the `Layer.bias_gain` of a layer that adds its bias to the output."""
    return 1.0


def by_gram(layer: Any, tight: bool = True) -> str:
    """Return the `Layer.proven_by` of a layer whose bounds are of `spectral.norm_bound`."""
    return "gram"


def by_torus(layer: Any, tight: bool = True) -> str:
    """Return that of a layer whose bounds are of `spectral.conv_bound`, never tight."""
    return "torus"


def by_conv(layer: Any, tight: bool = True) -> str:
    """Return that of a layer whose bounds are of `spectral.conv_bound`."""
    return "tight" if tight else "torus"


class Parametrised(Single):
    """A layer of LipConvNets, whose `on_images` computes a kernel from unconstrained
    parameters and applies it to images."""

    features: int


class ConvShell(Parametrised):
    """A 1-Lipschitz layer of images [B,n,n,C]; stride 2 is space-to-depth followed by
    stride 1."""

    kernel_size: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, *known: Any) -> Array:
        """Return [B,n/stride,n/stride,features]; known: the kernel, where it has been
        computed already and `on_images` need not."""
        if self.stride == 2:
            x = space_to_depth(x)
        return self.on_images(x, self.kernel_size, *known)


class DenseShell(Parametrised):
    """A 1-Lipschitz layer [B,C] -> [B,features]: the convolution of images of one pixel
    with k = 1."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return self.on_images(x[:, None, None], 1)[:, 0, 0]


def space_to_depth(x: Array) -> Array:
    """Map [B,2h,2w,C] to [B,h,w,4C], where the new channel is 4c + 2*row + column, as
    in the original code.

    Raises InputError for an odd height or width.
    """
    b, h, w, c = x.shape
    if h % 2 or w % 2:
        raise InputError(
            f"a layer of stride 2 needs images of even height and width, not {h}x{w}: pad them."
        )
    x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 5, 2, 4)
    return x.reshape(b, h // 2, w // 2, 4 * c)


def prepared(module: nn.Module, compute: Callable[[], Any]) -> Any:
    """Return the explicit kernel, which `Model.prepare` stores: read where it is
    stored, else computed."""
    if module.has_variable("prepared", "q"):
        return module.get_variable("prepared", "q")
    q = compute()
    if module.is_mutable_collection("prepared"):
        module.put_variable("prepared", "q", q)
    return q


def init_uniform(key, shape):
    """Draw a kernel [k,k,C_in,C_out] as PyTorch initialises convolutions."""
    bound = 1 / math.sqrt(math.prod(shape[:3]))
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def init_bias(key, shape, kernel_shape):
    """Draw a bias as PyTorch does by default, or return zeros where the kernel is
    square."""
    k, _, c_in, c_out = kernel_shape
    bound = 0.0 if c_in == c_out else 1 / math.sqrt(k * k * c_in)
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)
