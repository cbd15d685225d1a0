"""The signatures that everything plugs into.

Data flows one way: source -> mixture -> batch -> augment -> loss -> state -> checkpoint
-> certificate -> record -> analysis. Images are NHWC; a network's input is in [0, 1]
(its normalisation is inside), so every Lipschitz constant and every radius is in that
scale.

Letters: B batch, N data set, K classes, H W C image, m noisy copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcert.certificate import Certificates

Array = jax.Array
Key = jax.Array  # a jax.random key
Keys = jax.Array  # [B] of them
PyTree = Any

Batch = dict[str, Any]
"""image: uint8 or float32 in [0, 1], [B,H,W,C]; label int32 [B]; real bool [B] (False:
generated); index int32 [B], the position in the REAL training set, -1 for generated
images; augment float32 [B,9], how data/augment_pipe.py moved an image, if it did."""

LogitsFn = Callable[[Key, Array], Array]
"""(key, image [B,H,W,C]) -> logits [B,K]; pure. What attacks are written against."""

VoteFn = Callable[[Keys, Array], Array]
"""(keys [B], noisy image [B,H,W,C]) -> class int32 [B], or logits [B,K] for their argmax;
pure. -1, or a logit that is not finite, never counts as a vote for a class. What every
certificate of smoothing is written against."""


class HostVote(NamedTuple):
    """A base classifier that runs outside of JAX: a VoteFn of NumPy arrays."""

    votes: Callable[[np.ndarray, int], np.ndarray]
    """(noisy images float32 [B,H,W,C], K) -> class int64 [B], -1 for none. The array belongs
    to JAX and is not written to."""

    base: dict[str, Any]
    """what a header says of it: name, stated, fixed_by, maybe digest; see docs/records.md"""

    check: Callable[[], None] = lambda: None
    """raises InputError where the classifier is no longer the one of `base`"""

    may_fail: bool = False
    """whether a vote for no class may be an answer that never came, and so one for any class"""

    def __repr__(self) -> str:
        return f"HostVote({self.base['name']} {self.base['stated']})"


class Model(NamedTuple):
    """Pure functions of a network; what a network does not have is None.

    Its parameters and its state are nested dicts of arrays. A forward pass runs in the
    precision of `x`: float64 images give a float64 forward pass on the same float32
    parameters.
    """

    init: Callable[[Key], tuple[PyTree, PyTree]]
    """key -> (params, state); state is everything a forward pass may update."""

    apply: Callable[..., tuple[Array, PyTree]]
    """(params, state, x [B,H,W,C], *, train=False, key=None, **inputs) -> (logits [B,K],
    state). With train=False the given state itself is returned: evaluation cannot disturb
    training. Distance nets take more inputs in training: models/dist_net.py."""

    prepare: Callable[[PyTree, PyTree], PyTree]
    """(params, state) -> state with what evaluation reads and training recomputes
    (explicit orthogonal kernels). Called once before a certification, in the precision
    of `params`."""

    num_classes: int
    image_shape: tuple[int, int, int]
    norm: str | None = None
    """'l2' | 'linf' for Lipschitz networks: the norm that the two functions below speak
    of."""

    lipschitz: Callable[..., tuple[Array, PyTree]] | None = None
    """(params, state, *, train=False) -> (pairwise [K,K], state): differentiable
    ESTIMATE of the Lipschitz constant of z_i - z_j. It may lie below the truth (power
    iteration), so it serves losses and `radius_paper`, never `radius`."""

    lipschitz_bound: Callable[..., Bound] | None = None
    """(params, prepared state, *, tight=True, tell=None) -> proven upper bounds of the same
    constants, computed on the host, not differentiable; inf where nothing could be
    proven. Not tight: where a tight bound takes minutes, one in seconds."""

    interval_margins: Callable[..., Array] | None = None
    """(params, state, lower, upper, label [B]) -> [B,K]: lower bounds on z_label - z_j
    in the box."""

    unconditional: bool | None = None
    """of denoisers, whether label -1 (no class) was trained, by label_dropout > 0 or
    num_classes 0; None: a classifier. What a denoiser takes: models/edm_unet.py"""

    def __repr__(self) -> str:
        kind = "denoiser" if self.unconditional is not None else "classifier"
        norm = f", Lipschitz in {self.norm}" if self.norm else ""
        return f"Model({kind} of {self.image_shape}, {self.num_classes} classes{norm})"


Tell = Callable[[int, int], None]
"""Called with (layers done, layers) while a bound is computed."""


class LayerBound(NamedTuple):
    """A proven Lipschitz constant of one layer, as a record names it."""

    name: str
    """that of its parameters, with a number for each block of a stack"""
    kind: str
    method: str
    """how it was proven: exact | gram | tight | torus"""
    bound: float
    """rounded up"""


class Bound(NamedTuple):
    """Proven upper bounds of a Lipschitz network."""

    pairwise: Any
    """float64 [K,K], of z_i - z_j in pixels"""
    growth: float
    """most by which a change of a layer's output, or a bias, can grow until the logits"""
    layers: tuple[LayerBound, ...] = ()
    """in the order in which an image passes them"""
    head: Any = None
    """float64 [K,K], of z_i - z_j in terms of what the layers give; None: of pixels. `pairwise`
    is at least the product of the layers' bounds times this."""

    def __repr__(self) -> str:
        largest = np.asarray(self.pairwise).max()
        return f"Bound(largest constant {largest:.4g}, growth {self.growth:.4g})"


class Run(NamedTuple):
    """What a method may know of the run, because papers count in epochs."""

    steps_per_epoch: int
    total_steps: int
    data_size: int
    """images of the real training set, N"""


class Refresh(NamedTuple):
    """Tables of a method that are recomputed between epochs."""

    due: Callable[[int], bool]
    """epoch (from 0) -> whether `fn` runs before its first step"""
    fn: Callable[..., PyTree]
    """(train_state, sweep, key) -> extra"""


class Method(NamedTuple):
    """What a training paper adds to the loop.

    `sweep()` yields the real training set once, in order, augmented, as batches.
    """

    loss: Callable[..., tuple[Array, tuple[PyTree, dict[str, Array]]]]
    """(params, state, extra, batch, key, step, phase) -> (scalar, (state, metrics));
    pure and traced; batch['image'] is float32 in [0, 1], already augmented."""

    init_extra: Callable[[], PyTree] = tuple
    """() -> tables the method owns (example weights, soft labels)"""

    phase: Callable[[int], str | None] = lambda step: None
    """step -> name of a differently COMPILED step; on the host, static"""

    refresh: Refresh | None = None
    calibrate: Callable[[TrainState, Callable[[], Iterable[Batch]]], PyTree] | None = (
        None
    )
    """(train_state, sweep) -> the model state to evaluate with"""

    over_the_run: str = ""
    """what of the loss depends on the number of epochs of the whole run"""


class TrainState(NamedTuple):
    """All that a checkpoint holds. Randomness is fold_in(run key, step): no key is
    stored."""

    step: Array  # int32 [], micro-batches seen
    params: PyTree
    model_state: PyTree
    extra: PyTree
    opt_state: PyTree
    ema: PyTree | None  # averaged params, or None

    def __repr__(self) -> str:
        return f"TrainState(step {self.step}, {_numbers(self.params)} parameters)"


class Network(NamedTuple):
    """A trained network as certificates take it: read from a checkpoint's evaluation
    item."""

    model: Model
    params: PyTree
    state: PyTree
    exact: Model | None = None
    """the same network in float32, where `model` computes in bfloat16"""

    def __repr__(self) -> str:
        return f"Network({self.model}, {_numbers(self.params)} parameters)"


def _numbers(tree: PyTree) -> str:
    return f"{sum(leaf.size for leaf in jax.tree.leaves(tree)):,}"


class Plan(NamedTuple):
    """What a certification will take at most, and what it can give."""

    radius: float
    """largest that an image can get"""
    samples: int
    """most votes per image"""
    memory: int
    """bytes on each device"""
    rate: float
    """votes per second, measured"""
    evaluations: float = 1.0
    """of the network per vote"""


class Certifier(NamedTuple):
    """A certificate procedure. Making one checks its settings alone, and its header is known
    before any image, so a record file of another request is refused at once."""

    settings: dict[str, Any]
    """the header, but for what `prove` gives"""

    certify: Callable[..., Certificates]
    """(key, image uint8 or float in [0, 1] [B,H,W,C], label [B], index [B]) -> B rows.
    A label of -1 is none, and no label changes anything but the row's own.
    Row i draws from fold_in(key, index[i]): it does not depend on batching, order,
    device count or an interruption (float64 logits up to rounding, far inside their
    slack). B bounds what an interruption loses."""

    plan: Callable[[Key, Any], Plan] | None = None
    """(key, images [B,H,W,C], one is enough) -> Plan, of certificates that sample"""

    image_shape: tuple[int, ...] | None = None
    """of the images that it takes; None: any"""

    prove: Callable[[], dict[str, Any]] | None = None
    """() -> the keys of the header that are proven of the network, which can take minutes
    when first asked for; None: there are none"""

    stops: bool = False
    """whether `certify` takes `left=`, a function that returns the seconds that are left. It is
    asked between votes, and rows that are not decided when none are left say what is proven by
    then: nothing, where the procedure needs all its votes"""

    @property
    def header(self) -> dict[str, Any]:
        """method, norm, alpha (0: deterministic), sigma, procedure, pairwise_bound: see
        records/"""
        return self.settings | (self.prove() if self.prove else {})

    def __repr__(self) -> str:
        procedure = self.settings.get("procedure")
        name = procedure.get("name") if isinstance(procedure, dict) else procedure
        known = self.settings | {"procedure": name}
        named = ("procedure", "norm", "sigma", "alpha")
        facts = ", ".join(f"{k} {known[k]}" for k in named if k in known)
        return f"Certifier({self.settings.get('method')}, {facts})"
