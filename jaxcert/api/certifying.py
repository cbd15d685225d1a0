"""Certificates of arrays: of many images, of one at a time, of any function of images."""

from __future__ import annotations

import inspect
import itertools
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict
from numpy.typing import ArrayLike

from jaxcert import config as configs
from jaxcert import random_keys, sharding, version
from jaxcert.certificate import ABSTAIN, ERROR, NO_LABEL, Certificates, concatenate
from jaxcert.certificates import inputs, smoothing
from jaxcert.data import recorded, sources
from jaxcert.errors import InputError, above, whole_from
from jaxcert.host import torch_module
from jaxcert.host.answers import first_line
from jaxcert.host.classifiers import on_host
from jaxcert.interfaces import Certifier, HostVote, Model, Network
from jaxcert.ops.images import outside
from jaxcert.workdirs import checkpoint


class Prediction(NamedTuple):
    """The answer of a predictor for an image."""

    predicted: int
    """the class; -1: it abstains, -2: the network's output is not finite. A deterministic
    certificate abstains where the two largest logits differ by no more than the errors of both
    together: only there can the computed class be another than that of the exact function"""
    radius: float
    """no image at a smaller distance changes the class, in the norm of the certificate and the
    scale of [0, 1]; 0 without a class"""
    abstained: bool
    """whether there is no class"""


def certify_images(
    network: Network | Certifier,
    images: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    certificate: str = "",
    seed: int = 0,
    index: ArrayLike | None = None,
    batch: int = 256,
    **settings: Any,
) -> Certificates:
    """Certify images -> Certificates: for each the predicted class, the radius within which it
    cannot change, and the evidence.

    network: of `load` or `load_weights`, or a certifier, as `smooth` makes one.
    images: [N,H,W,C], uint8 or floats in [0, 1].
    labels: [N], the true classes, for accuracies alone: no radius depends on them. Without
        them every label of the result is -1, none of its rows counts as correct, and
        certified_accuracy of it is nan.
    certificate, settings: the file of jaxcert/certificates and arguments of its `make`, such as
        certificate="smoothing", sigma=0.25, n=10_000. By default `lipschitz` for a Lipschitz
        network and `smoothing`, which needs sigma, for another classifier.
    seed, index: row i draws its noise by seed (of which the low 32 bits count) and index[i],
        by default i: the same call gives the same rows, and these are those of
        `jaxcert certify` at the positions `index` of a data set. Images that are certified in
        several calls with one seed need an index each.
    batch: images that are passed through a deterministic network together.

    Where alpha is not 0, each row is wrong with probability at most alpha, for images that do
    not depend on the seed. predicted is -1 where the certificate abstains, and -2, with a warning,
    where the classifier gives no class. Raises InputError for images or labels of a wrong shape,
    type or range, for a pixel that is not finite, and for settings that the certificate does not
    take.
    """
    certifier = _certifier_of(network, certificate, settings)
    whole_from(1, batch=batch)
    image = _checked(images, "images", certifier.image_shape)
    count = len(image)
    label = _labels(labels, count, certifier.header.get("num_classes"))
    at = np.arange(count) if index is None else _array(index, "index")
    if at.shape != (count,):
        raise InputError(
            f"index has the shape {at.shape}, and there are {count} images: give one number "
            "for each."
        )
    at, (key, said) = inputs.check_index(at), _key(seed)
    known = np.full(count, NO_LABEL, np.int32) if label is None else label
    parts = [
        certifier.certify(key, image[part], known[part], at[part])
        for part in (slice(i, i + batch) for i in range(0, count, batch))
    ]
    rows = concatenate(parts)
    if lost := int((rows.predicted == ERROR).sum()):
        classes = certifier.header.get("num_classes")
        warnings.warn(
            f"{lost:,} of {count:,} images are predicted -2, no class and no certificate: what "
            "the classifier gives for them is not finite, or no class from 0 to "
            f"{classes - 1 if classes else 'num_classes - 1'}.",
            stacklevel=2,
        )
    header = random_keys.with_key(certifier.header, said) | {
        "seed": int(seed),
        "versions": {"jaxcert": version.__version__, "jax": jax.__version__},
    }
    if isinstance(network, Network):
        header["checkpoint"] = checkpoint.network_digest(network)
    if index is None:
        header["images"] = count
        header["requests"] = [{"start": 0, "stop": count, "step": 1}]
        if label is not None:
            data = sources.Source(image, label, 0, "images")
            header["data_digest"] = recorded.data_digest(data)
    return _in_order(rows, at)._replace(header=header)


def predictor(
    network: Network | Certifier,
    *,
    certificate: str = "",
    seed: int = 0,
    **settings: Any,
) -> Predictor:
    """Return a function of one image [H,W,C] -> Prediction (predicted, radius, abstained). Its
    first call compiles, each later one is a pass through the network, or n of them where the
    certificate samples. It takes `deadline=`, the seconds in which to answer: see Predictor.

    Arguments as of `certify_images`. The calls count from 0, and that count is the index of
    the image: call i draws noise of its own, and says of an image what row i of certify_images
    does. Whoever knows the seed and chooses the images can look for noise that errs, so give a
    secret seed where that matters. Raises InputError as certify_images, for `image`.

    It runs the function that is certified: a deterministic network in float64, and a smoothed one
    with products in the precision that JAX has when the predictor is made. Around an image with a
    radius it never names another class, but for the probability alpha of each answer, while
    `network.model.apply` in float32 can.
    """
    return Predictor(_certifier_of(network, certificate, settings), seed)


class Predictor:
    """A function of one image that counts its calls, as `predictor` returns it.

    With a deadline a certificate that samples draws no further vote when the time is up.
    Procedure sequence then answers by the votes that it has, with a radius that is as true as any
    other but smaller, and radii by those that it has proven; what needs all its n votes abstains.
    A network that is evaluated once is not interrupted.
    """

    def __init__(self, certifier: Certifier, seed: int):
        self._certifier, self._seed = certifier, seed
        (self._key, _), self._calls = _key(seed), itertools.count()
        self._precision = jax.config.jax_default_matmul_precision

    @property
    def header(self) -> dict[str, Any]:
        """Return what a record's header says of the certificate."""
        return self._certifier.header

    @property
    def image_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the images that it takes; None: any."""
        return self._certifier.image_shape

    @property
    def stops(self) -> bool:
        """Return whether a deadline can end an answer that was begun."""
        return self._certifier.stops

    def __call__(
        self, image: ArrayLike, *, deadline: float | None = None
    ) -> Prediction:
        rows = self.certify(image, deadline=deadline)
        predicted = int(rows.predicted[0])
        return Prediction(predicted, float(rows.radius[0]), predicted < 0)

    def certify(
        self, image: ArrayLike, *, deadline: float | None = None
    ) -> Certificates:
        """Return the row of a Prediction with its evidence: predicted is -1 where the predictor
        abstains. Raises InputError as `certify_images`, and for a deadline that is no number."""
        began = time.monotonic()
        if deadline is not None:
            above(0, deadline=deadline)
        one = _array(image, "image")[None]
        one = _checked(one, "image", self._certifier.image_shape)
        label = np.full(1, NO_LABEL, np.int32)
        index = np.array([next(self._calls)])
        how = {}
        if deadline is not None and self._certifier.stops:
            how = dict(left=lambda: began + deadline - time.monotonic())
        with jax.default_matmul_precision(self._precision):
            rows = self._certifier.certify(self._key, one, label, index, **how)
        if rows.predicted[0] >= 0 and not _sure(rows):
            none = np.full(1, ABSTAIN, np.int32)
            rows = rows._replace(predicted=none, radius=np.zeros(1))
        return rows

    def __repr__(self) -> str:
        runs_in = "float64"
        if self._certifier.settings.get("alpha") != 0:
            runs_in = f"products in {self._precision or 'default'} precision"
        return f"Predictor({self._certifier!r}, {runs_in}, seed={self._seed})"


def _sure(rows: Certificates) -> bool:
    """Whether the class of a single row is the one of the exact function: its logit exceeds the
    others by more than the error that two logits may have. Within the radius of another image the
    exact function keeps its class by any margin above 0, which the computed one may miss."""
    slack = rows.header.get("procedure", {}).get("logit_slack")
    if rows.logits is None or slack is None:
        return True
    second, first = np.sort(rows.logits[0])[-2:]
    return bool(first - second > 2 * slack)


def smooth(
    f: Callable[..., Any] | HostVote | str | Path,
    *,
    num_classes: int,
    sigma: float,
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    **options: Any,
) -> Certifier:
    """Return the certifier of a function, by randomized smoothing (Cohen, Rosenfeld and Kolter
    2019, arXiv 1902.02918): what `certify_images` and `predictor` take.

    f: images [B,H,W,C], float32 in [0, 1] with noise added -> classes int [B], or logits
        [B,K]; a function that JAX can trace. A `jax.tree_util.Partial` keeps its arrays
        arguments of the compiled program. A row whose logits are not all finite is no vote.
        Or what runs outside of JAX: that of `on_host` or `oracle`, and a PyTorch module or the
        path of an ONNX file as `on_host` takes them.
    sigma: standard deviation of the noise for each pixel, in the scale of [0, 1].
    n0, n: votes that choose the class, and that its radius rests on.
    alpha: largest probability that a radius is wrong.
    options: others of `jaxcert.certificates.smoothing.certifier`, such as procedure, radii,
        noise, norm, image_shape and chunk, the images that are passed to f together.

    Raises InputError for numbers that cannot certify anything.
    """
    if isinstance(f, str | Path) or torch_module.is_of_torch(f):
        f = on_host(f)
    hosted = isinstance(f, HostVote)
    if not hosted and (not callable(f) or isinstance(f, Network | Certifier)):
        raise InputError(
            f"f must be a function of images, not {type(f).__name__}: a network is certified by "
            'certify_images(network, images, certificate="smoothing", sigma=...).'
        )
    takes = inspect.signature(smoothing.certifier).parameters
    if unknown := [key for key in options if key not in takes or key == "vote"]:
        raise InputError(
            f"{unknown[0]} is no option of smooth: there are {', '.join([*takes][1:])}."
        )
    vote = f if hosted else Partial(_vote, f if isinstance(f, Partial) else Partial(f))
    given = dict(num_classes=num_classes, sigma=sigma, n0=n0, n=n, alpha=alpha)
    given = {k: _plain(v) for k, v in (given | options).items()}
    return smoothing.certifier(vote, **given)


def _vote(f, keys, image):
    """interfaces.VoteFn of a function that draws nothing."""
    try:
        return f(image)
    except TypeError as error:
        said = f"f cannot take images {list(image.shape)}, {first_line(error)}"
        # what takes arrays of NumPy cannot take those that are traced
        if isinstance(error, jax.errors.JAXTypeError):
            how = ": if it is a function of NumPy arrays, give on_host(f)."
        elif torch_module.is_of_torch(getattr(f.func, "__self__", None)):
            how = ": give the module itself."
        else:
            how = ": correct f; what runs outside of JAX is given as on_host(f)."
        raise InputError(said + how) from error


def _key(seed: int):
    """Return the key that `jaxcert certify` makes of certify.seed, and how it was made."""
    whole_from(0, seed=seed)
    return random_keys.of_stream(seed, configs.CERTIFY_STREAM)


def _certifier_of(
    network: Network | Certifier, certificate: str, settings: dict[str, Any]
) -> Certifier:
    """The certifier itself, or the one of a network and a certificate's settings."""
    if isinstance(network, Certifier):
        if left := [*["certificate"] * bool(certificate), *settings]:
            raise InputError(
                f"{left[0]} is fixed by the certifier that is given: leave it out, or give the "
                "network."
            )
        return network
    if not isinstance(network, Network):
        raise InputError(
            f"network must be one of jaxcert.load, or a certifier as of jaxcert.smooth, not "
            f"{type(network).__name__}."
        )
    name = certificate or _default(network.model)
    takes = inspect.signature(configs.maker("certificates", name)).parameters
    for key, parameter in takes.items():
        if parameter.default is parameter.empty and key not in ("network", *settings):
            raise InputError(f"certificate {name} needs {key}: give it as {key}=....")
    others = {k: v for k, v in settings.items() if isinstance(v, Network)}
    section = {k: _plain(v) for k, v in settings.items() if k not in others}
    certifier = configs.build(
        "certificates",
        ConfigDict(section | {"name": name}),
        needs=others,
        network=network,
        mesh=sharding.local_mesh() if jax.local_device_count() > 1 else None,
    )
    digests = {k: checkpoint.network_digest(v) for k, v in others.items()}
    named = {"networks": digests} if digests else {}
    return certifier._replace(settings=certifier.settings | named)


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's own, which a header holds, and a list as a tuple."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _array(value: ArrayLike, name: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(
            f"{name} has parts of unequal length: give an array."
        ) from None


def _default(model: Model) -> str:
    if model.unconditional is not None:
        raise InputError(
            "certificate must be named for a denoiser: noised_diffusion_classifier, "
            "diffusion_classifier or denoised_smoothing."
        )
    return "smoothing" if model.lipschitz_bound is None else "lipschitz"


def _checked(images: ArrayLike, name: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """The images as an array, uint8 or floats in [0, 1]. Raises InputError in terms of the
    argument `name`: 'images', or 'image' for a single one."""
    image, single = _array(images, name), name == "image"
    given = image.shape[1:] if single else image.shape
    if image.ndim != 4 or shape is not None and image.shape[1:] != tuple(shape):
        wanted = ",".join(map(str, shape or "HWC"))
        raise InputError(
            f"{name} has the shape {given} where [{'' if single else 'N,'}{wanted}] is asked "
            f"for: channels come last{'' if single else ', and one image is a batch of one'}."
        )
    if not image.size:
        raise InputError(f"{name} has the shape {given}: give at least one image.")
    if (
        shape is None
        and image.shape[1] in (1, 3)
        and image.shape[2] == image.shape[3] > 4
    ):
        # a network that takes any shape would be certified for other classes than it gives
        warnings.warn(
            f"{name} has the shape {given}, which is read as {given[-1]} channels: if its "
            f"channels come first, give np.moveaxis({name}, -3, -1).",
            stacklevel=3,
        )
    if image.dtype == np.uint8:
        return image
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise InputError(
            f"{name} has the type {image.dtype}: give uint8, or floats in [0, 1]."
        )
    if image.dtype.itemsize < 4:
        image = image.astype(np.float32)
    finite = np.isfinite(image).reshape(len(image), -1).all(1)
    if not finite.all():
        if single:
            raise InputError("image has a pixel that is not finite: give numbers.")
        where = int(finite.argmin())
        raise InputError(
            f"{name}[{where}] has a pixel that is not finite: leave it out."
        )
    if ends := outside(image):
        raise InputError(
            f"{name} has pixels from {ends[0]:.7g} to {ends[1]:.7g}: divide floats so that "
            "they are in [0, 1], or give uint8."
        )
    return image


def _labels(
    labels: ArrayLike | None, count: int, classes: int | None
) -> np.ndarray | None:
    if labels is None:
        return None
    label = _array(labels, "labels")
    if label.shape != (count,):
        raise InputError(
            f"labels has the shape {label.shape}, and there are {count} images: give one class "
            "for each."
        )
    if label.dtype.kind not in "iu":
        raise InputError(f"labels has the type {label.dtype}: give whole numbers.")
    low, high = int(label.min()), int(label.max())
    if low < 0 or classes is not None and high >= classes:
        known = "from 0 up" if classes is None else f"from 0 to {classes - 1}"
        raise InputError(
            f"labels has {low if low < 0 else high}: give classes {known}."
        )
    return label.astype(np.int32)


def _in_order(rows: Certificates, index: np.ndarray) -> Certificates:
    """Rows that are sorted by index, in the order of `index`."""
    place = np.argsort(np.argsort(index))
    columns = rows._asdict()
    columns.pop("header")
    return rows._replace(
        **{k: None if v is None else v[place] for k, v in columns.items()}
    )
