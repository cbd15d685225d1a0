"""l_inf-dist Net and SortNet: plain stacks of distances, 1-Lipschitz in l_inf.

Zhang et al. (2021, 2022a), l_inf-dist Net; Zhang et al. (2022b), SortNet (rho > 0; rho = 0
is the l_inf-dist Net). `depth` counts all layers. Every distance layer but the last is
followed by a mean shift; the last has a bias:

    f = -(distance to the class' point + bias),    logits = scale * f,

`scale` is a learnt scalar that matters to the cross entropy alone: it cancels in every
radius. With `hidden` the last two layers are a tanh network with interval bounds (the
hybrid, "+MLP"). With `stride` the first layer is a distance convolution whose kernel lacks
`stride` pixels of each side, so that it has 2 x 2 positions; the others are 1 x 1
convolutions, which treat every position alike, and the head takes all four ("2x").

All pixels are divided by ONE std, so the l_inf ball stays a cube. Training takes p
(None for infinity); evaluation is at p = infinity with the deterministic sort neuron,
and refuses any other p.
"""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxcert.errors import InputError, whole_from, within
from jaxcert.interfaces import Bound, LayerBound, Model
from jaxcert.models._parts import check_sizes, of_normalisation
from jaxcert.nn import adapter
from jaxcert.nn.interval import IntervalHead
from jaxcert.nn.norm_dist import MeanShift, NormDist, as_mask, draw_kept


def make(
    *,
    image_shape: tuple[int, int, int] = (32, 32, 3),
    num_classes: int = 10,
    depth: int = 6,
    width: int = 5120,
    rho: float = 0.0,
    num_terms: int = 10,
    hidden: int = 0,
    stride: int = 0,
    identity: float = 0.0,
    learn_scale: bool = True,
    group: int = 32,
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.4465),
    std: float = 0.2009,
) -> Model:
    """Return the Model of images [B,H,W,C] in [0,1] -> logits [B,K].

    rho: that of the sort neuron; in training each group of `group` images keeps a
    random share 1 - rho of the hidden units. hidden: the number of units of the
    interval head, 0 for none. stride: pixels between the positions of the first layer, 0:
    it sees the whole image.

    `apply` with train=True takes p (None | int | traced scalar >= 1), kept (a tuple of
    int32 [S,k], one per hidden layer that drops; None draws them from `key`),
    deterministic (the sort neuron itself, p = infinity), momentum (of the running
    means), and label with eps (pixels), with which it returns (logits, worst [B,K]),
    worst being 0 at the label and else 1 + (f_j - f_label) / (2 eps), or for hybrids
    the upper bounds of f_j - f_label when the head's inputs move by eps.

    Raises InputError for sizes, rho, a stride or a std that no such network can have.
    """
    check_sizes(image_shape, num_classes, width)
    if len(mean) != image_shape[-1]:
        raise InputError(
            f"model.mean has {len(mean)} values for {image_shape[-1]} channels."
        )
    if not isinstance(std, float | int) or not std > 0:
        raise InputError(
            f"model.std must be one positive number, not {std}: a std per channel would "
            "bend the l_inf ball."
        )
    within("[0, 1)", of="model", rho=rho)
    whole_from(1, of="model", num_terms=num_terms, group=group)
    whole_from(0, of="model", hidden=hidden, stride=stride)
    if stride and not (hidden and stride < min(image_shape[:2])):
        raise InputError(
            f"model.stride is {stride}, and it takes model.hidden and a side of more pixels: "
            "give hidden, or stride 0."
        )
    whole_from(3 if hidden else 2, of="model", depth=depth)  # with the head
    module = DistNet(
        image_shape=tuple(image_shape),
        stride=stride,
        num_classes=num_classes,
        depth=depth,
        width=width,
        rho=rho,
        num_terms=num_terms,
        hidden=hidden,
        identity=identity,
        learn_scale=learn_scale,
        group=group,
        mean=tuple(mean),
        std=float(std),
    )
    sizes = dict(image_shape=image_shape, num_classes=num_classes)
    return adapter.from_linen(module, **sizes, norm="linf", intervals=True)


class DistNet(nn.Module):
    """The flax module of the network, see above."""

    image_shape: tuple[int, int, int]
    stride: int
    num_classes: int
    depth: int
    width: int
    rho: float
    num_terms: int
    hidden: int
    identity: float
    learn_scale: bool
    group: int
    mean: tuple[float, ...]
    std: float

    def setup(self):
        layers = self.depth - (2 if self.hidden else 1)
        height, width, channels = self.image_shape
        sizes = [(height - self.stride) * (width - self.stride) * channels]
        sizes += [self.width] * layers
        self.dist = [self._dist(i, size) for i, size in enumerate(sizes[:-1])]
        self.shift = [MeanShift(self.width) for _ in range(layers)]
        if self.hidden:
            inputs = self.width * self.positions
            self.head = IntervalHead(self.num_classes, self.hidden, inputs)
        else:
            self.last = self._dist(layers, self.width, self.num_classes)
            self.bias = self.param("bias", nn.initializers.zeros, (self.num_classes,))
        if self.learn_scale:
            self.scale = self.param("scale", nn.initializers.ones, ())

    @property
    def positions(self) -> int:
        return 4 if self.stride else 1

    @property
    def rows(self) -> int:
        """Rows of the distance layers that drop the same units: all positions of `group`
        images."""
        return self.group * self.positions

    def _dist(self, layer: int, inputs: int, features: int | None = None) -> NormDist:
        return NormDist(
            features or self.width,
            inputs,
            rho=self.rho if layer else 0.0,  # the first layer sees all pixels
            num_terms=self.num_terms,
            identity=self.identity,
            group=self.rows,
        )

    def __call__(
        self,
        x,
        train=False,
        *,
        p=None,
        kept=None,
        deterministic=False,
        momentum=0.1,
        label=None,
        eps=None,
    ):
        if p is not None and not train:
            raise InputError(
                "a distance net is evaluated at p = infinity (p=None): at finite p it is no "
                "1-Lipschitz function and carries no certificate."
            )
        draws = train and self.rho and kept is None and not deterministic
        dropped = len(self.dist) - bool(
            self.hidden
        )  # a linear head sees all its inputs
        x, seen = self._normalized(x), None
        for i, (dist, shift) in enumerate(zip(self.dist, self.shift, strict=True)):
            y, seen, counted = dist(x, p=p, kept=seen), None, None
            if draws and i < dropped:
                key = self.make_rng("dropout")
                seen = draw_kept(key, len(x), self.width, self.rho, self.rows)
            elif kept is not None and i < dropped:
                seen = kept[i]
            if seen is not None:
                counted = as_mask(seen, len(x), self.width, self.rows)
            x = shift(y, train=train, counted=counted, momentum=momentum)
        x = self._together(x)
        f = self.head(x) if self.hidden else self._nearness(x, p, seen)
        logits = self._scale(x) * f
        if label is None:
            return logits
        margin = eps / self.std
        if self.hidden:
            return logits, self.head.worst(x - margin, x + margin, label)
        return logits, worst_of(f, label, margin)

    def _nearness(self, x, p, kept):
        """Return f [B,K], minus the distance to the point of each class."""
        return -(self.last(x, p=p, kept=kept) + self.bias.astype(x.dtype))

    def lipschitz(self, train=False):
        """Return the constants [K,K]: 2 scale / std, or the product of the head's
        absolute weights."""
        factor = self._scale(jnp.zeros(())) / self.std
        if self.hidden:
            return factor * self.head.pairwise()
        return jnp.full((self.num_classes, self.num_classes), 2.0) * factor

    def lipschitz_bound(self, tight=True, tell=None):
        """Return the proven bound: the distances are exactly 1-Lipschitz."""
        scale = abs(float(self._scale(np.zeros(()))))
        head = np.full((self.num_classes, self.num_classes), 2.0)
        if self.hidden:
            head = self.head.pairwise_bound()
        pairwise = scale / self.std * (1 + 1e-12) * head
        layers = [
            LayerBound(dist.name or "", "norm_dist.NormDist", "exact", 1.0)
            for dist in (*self.dist, *(() if self.hidden else (self.last,)))
        ]
        layers = [of_normalisation(self.std), *layers]
        layers += [LayerBound("scale", "scale", "exact", scale)] * self.learn_scale
        growth = max(self.std * pairwise.max(), 1.0)
        return Bound(pairwise, growth, tuple(layers), head)

    def interval_margins(self, lower, upper, label):
        """Return lower bounds [B,K] of z_label - z_j over the box of images
        [lower, upper]."""
        lower, upper = self._normalized(lower), self._normalized(upper)
        for dist, shift in zip(self.dist, self.shift, strict=True):
            lower, upper = dist.interval(lower, upper)
            lower, upper = (shift(y, train=False) for y in (lower, upper))
        lower, upper = self._together(lower), self._together(upper)
        scale = self._scale(lower)
        if self.hidden:
            worst = self.head.worst(lower, upper, label)
            return -jnp.where(scale >= 0, scale, jnp.nan) * worst
        near, far = self.last.interval(lower, upper)
        bias = self.bias.astype(lower.dtype)
        low, high = scale * -(far + bias), scale * -(near + bias)
        low, high = jnp.minimum(low, high), jnp.maximum(low, high)
        own = jax.nn.one_hot(label, self.num_classes, dtype=bool)
        margins = jnp.take_along_axis(low, label[:, None], 1) - high
        return jnp.where(own, 0.0, margins)

    def _normalized(self, x):
        """Return the normalised images [B,D], or their four parts [4B,D], those of an image
        one after the other."""
        x = (x - jnp.asarray(self.mean, x.dtype)) / self.std
        if s := self.stride:
            upper, lower, left, right = (slice(None, -s), slice(s, None)) * 2
            places = itertools.product((upper, lower), (left, right))
            x = jnp.stack([x[:, rows, columns] for rows, columns in places], 1)
        return x.reshape(x.shape[0] * self.positions, -1)

    def _together(self, x):
        """Return what the positions of an image have become, as one row."""
        return x.reshape(-1, self.positions * x.shape[1])

    def _scale(self, x):
        return self.scale.astype(x.dtype) if self.learn_scale else 1.0


def worst_of(f, label, eps):
    """Return 1 + (f_j - f_label) / (2 eps), 0 at the label, [B,K]. It is above 0 where
    a perturbation of eps (in normalised units) may put j above the label."""
    above = f - jnp.take_along_axis(f, label[:, None], 1)
    own = jax.nn.one_hot(label, f.shape[1], dtype=bool)
    return jnp.where(own, 0.0, 1 + above / (2 * eps))
