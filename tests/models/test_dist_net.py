"""Distance nets: the originals' arrays in value and gradient, evaluation, and refusals."""

from __future__ import annotations

import math
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_each
from refusals import names

from jaxcert import config as configs
from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.methods import _linf, linf_dist, sortnet
from jaxcert.models import dist_net
from jaxcert.nn.norm_dist import MeanShift
from jaxcert.torch_import.dist_net import convert_state_dict
from tests.ops.test_norm_dist import group_of, power

RUN = Run(1, 1, 1)


def names_of(golden, prefix):
    return [n.removeprefix(prefix) for n in golden if n.startswith(prefix)]


def arrays_of(golden, prefix):
    return {n: golden[prefix + n] for n in names_of(golden, prefix)}


def opened(file):
    """(golden, model, params, image NHWC, some arrays -> (params, state))"""
    golden = Golden(file)
    channels, *side = golden["pixels"].shape[1:]
    shape = (*side, channels)
    whole = arrays_of(golden, "param_") | arrays_of(golden, "eval_buffer_")

    def trees(arrays):
        return convert_state_dict(whole | arrays, shape)[:2]

    params, _, facts = convert_state_dict(whole, shape)
    model = dist_net.make(
        image_shape=shape,
        rho=float(golden["rho"]) if "rho" in golden else 0.0,
        mean=tuple(golden["mean"].tolist()),
        std=float(golden["std"]),
        group=group_of(golden["mask_hidden1"]) if "mask_hidden1" in golden else 32,
        **facts,
    )
    image = golden["pixels"].astype(np.float64).transpose(0, 2, 3, 1)
    return golden, model, params, image, trees


def state_of(golden, trees, prefix):
    return trees(arrays_of(golden, prefix))[1]


def kept_of(golden):
    """Masks (B, width), equal within groups -> the tuple that training takes."""
    kept = []
    for i in range(1, 1 + sum(n.startswith("mask_hidden") for n in golden)):
        mask = golden[f"mask_hidden{i}"]
        groups = mask[:: group_of(golden["mask_hidden1"])]
        kept.append(jnp.asarray([np.flatnonzero(mask) for mask in groups], jnp.int32))
    return tuple(kept) or None


@pytest.mark.slow
@pytest.mark.golden("linf")
@golden_each("linf", "net_*.npz")
def test_training_is_the_originals_in_value_gradient_and_running_means(x64, file):
    golden, model, params, image, trees = opened(file)
    state, label = state_of(golden, trees, "buffer0_"), golden["targets"]
    lam, eps, kept = (
        float(golden["lam"]),
        float(golden["eps_train_pixel"]),
        kept_of(golden),
    )
    objective = _linf.ce_hinge if "head" in params else _linf.mixture

    def loss(params, *, p):
        (logits, worst), after = model.apply(
            params, state, image, train=True, p=p, kept=kept, label=label, eps=eps
        )
        return objective(logits, worst, label, lam=lam), (logits, worst, after)

    prefixes = {re.match(r"train_(p(?:inf|\d+(?:_\d+)?))_", n) for n in golden} - {None}
    for p in sorted({match[1] for match in prefixes}):
        number = power(p[1:])  # infinity, a whole number or another
        number = None if p == "pinf" else int(number) if number % 1 == 0 else number
        of_p = jax.jit(jax.value_and_grad(partial(loss, p=number), has_aux=True))
        (value, (logits, worst, after)), grads = of_p(params)
        close(value, golden[f"train_{p}_loss"], 1e-7)
        close(logits, golden[f"train_{p}_logits"], 1e-7)
        close(worst, golden[f"train_{p}_worst"], 1e-7)
        expected, _ = trees(arrays_of(golden, f"train_{p}_grad_"))
        jax.tree.map(partial(close, tolerance=1e-7), grads, expected)
        means = state_of(golden, trees, f"train_{p}_buffer_")
        # running means are float32
        jax.tree.map(partial(close, tolerance=2e-7), after, means)
    for name in ("x", "q"):
        golden.get(name) is not None and golden[name]
    assert not golden.unread(
        "eval_", "eps", "reestimate_split", "eps_test_pixel", "pgd"
    )


@pytest.mark.golden("linf")
@golden_each("linf", "net_*.npz")
def test_evaluation_bounds_and_radii_are_the_originals(x64, file):
    golden, model, params, image, trees = opened(file)
    label, scale = golden["targets"], np.asarray(params["scale"])
    for prefix in sorted({n[: n.index("eval_")] for n in golden if "eval_" in n}):
        state = state_of(golden, trees, f"{prefix}eval_buffer_")
        eps = float(golden["eps_test_pixel"])
        if prefix:  # eps8_eval_: at 8 / 255
            eps = power(prefix.removeprefix("eps").removesuffix("_")) / 255
        expected = {
            n: golden[f"{prefix}eval_{n}"] for n in names_of(golden, f"{prefix}eval_")
        }
        logits, _ = jax.jit(model.apply)(params, state, image)
        close(logits, expected["logits"], 1e-7)
        np.testing.assert_array_equal(logits.argmax(1), expected["pred"])
        box = np.maximum(image - eps, 0), np.minimum(image + eps, 1)
        margins = jax.jit(model.interval_margins)(params, state, *box, label)
        # the golden bound is of f_j - f_y, for plain nets in units of 2 eps
        plain = "head" not in params
        worst = -margins / scale / (2 * eps / golden["std"] if plain else 1)
        others = np.arange(worst.shape[1]) != label[:, None]
        close(np.where(others, worst, 0), expected["worst_ibp"], 1e-7)
        certified = np.where(others, margins, np.inf).min(1) > 0
        np.testing.assert_array_equal(certified, expected["certified_ibp"])
        if not plain:
            continue
        pairwise = model.lipschitz_bound(params, state).pairwise
        own = np.take_along_axis(np.asarray(logits), label[:, None], 1)
        radius = np.where(others, (own - logits) / pairwise[label], np.inf).min(1)
        close(radius * 2 / golden["std"], expected["margin_signed"], 1e-7)
        np.testing.assert_array_equal(radius > eps, expected["certified_lipschitz"])
        lipschitz = np.where(others, 1 - (own - logits) / pairwise[label] / eps, 0)
        close(lipschitz, expected["worst_lipschitz"], 1e-7)
        top = np.sort(np.asarray(logits), 1)
        close(
            (top[:, -1] - top[:, -2]) / pairwise[0, 1],
            expected["radius_top2_pixel"],
            1e-7,
        )
        close(
            (top[:, -1] - top[:, -2]) / (2 * scale),
            expected["radius_top2_normalised"],
            1e-7,
        )


@pytest.mark.golden("linf")
@golden_each("linf", "net_sort*.npz")
def test_means_are_re_estimated_as_the_original_does(x64, file):
    golden, model, params, image, trees = opened(file)
    state, split = state_of(golden, trees, "buffer0_"), int(golden["reestimate_split"])
    apply = jax.jit(partial(model.apply, train=True, deterministic=True))
    for k, part in enumerate((image[:split], image[split:])):
        _, state = apply(params, state, part, momentum=1 / (k + 1))
    expected = state_of(golden, trees, "eval_buffer_")
    jax.tree.map(partial(close, tolerance=2e-7), state, expected)


@pytest.mark.golden("linf")
@golden_each("linf", "mean_shift*.npz")
def test_mean_shift_is_the_originals(x64, file):
    golden = Golden(file)
    y, g, mask = (golden[n] for n in ("y", "g", "mask_out"))
    y, g = y.astype(np.float64), g.astype(np.float64)
    layer = MeanShift(y.shape[1])
    before = {"mean_shift": {"mean": golden["running_mean_before"].astype(np.float32)}}

    def run(y, train, counted=None):
        # the original evaluates with what one training pass has left
        state = (
            before if train else {"mean_shift": {"mean": golden["running_mean_after"]}}
        )
        out, after = layer.apply(
            state, y, train=train, counted=counted, mutable=["mean_shift"]
        )
        return out, after["mean_shift"]["mean"]

    for prefix, train, counted in (
        ("train", True, None),
        ("eval", False, None),
        ("masked_train", True, mask),
    ):
        out, pull, mean = jax.vjp(lambda y: run(y, train, counted), y, has_aux=True)  # noqa: B023
        seen = mask if counted is not None else np.ones_like(mask)
        # of a dropped output nothing is read, so nothing flows back
        close(np.where(seen, out, 0), golden[f"{prefix}_out"], 1e-6)
        close(pull(np.where(seen, g, 0))[0], golden[f"{prefix}_gy"], 1e-8)
        after = {
            "train": "running_mean_after",
            "masked_train": "masked_running_mean_after",
        }
        if train:
            close(mean, golden[after[prefix]], 2e-7)
    for k in range(sum(n.startswith("reest_batch") for n in golden)):
        _, after = layer.apply(
            before,
            golden[f"reest_batch{k}"],
            train=True,
            momentum=1 / (k + 1),
            mutable=["mean_shift"],
        )
        before = after
    close(before["mean_shift"]["mean"], golden["reest_running_mean"], 2e-7)
    assert not golden.unread()


def small(**changes):
    settings = dict(
        image_shape=(4, 4, 1), num_classes=3, depth=3, width=12, mean=(0.3,)
    )
    return dist_net.make(**settings | changes)


def test_evaluation_at_finite_p_is_refused():
    model = small()
    params, state = model.init(jax.random.key(0))
    with pytest.raises(InputError, match=names("p = infinity")):
        model.apply(params, state, jnp.zeros((1, 4, 4, 1)), p=8)


@pytest.mark.parametrize(
    "changes", [{}, {"rho": 0.3}, {"hidden": 5}, {"hidden": 5, "stride": 1}], ids=str
)
def test_interval_contains_every_image_of_the_box_and_never_says_less(x64, changes):
    """Corners, random points and the Lipschitz radius itself."""
    model = small(**changes)
    params, state = jax.jit(model.init)(jax.random.key(1))
    draw, eps = np.random.default_rng(0), 0.05
    image = draw.uniform(size=(5, 4, 4, 1))
    logits, _ = jax.jit(model.apply)(params, state, image)
    label = np.asarray(logits.argmax(1))
    box = np.maximum(image - eps, 0), np.minimum(image + eps, 1)
    bound = np.asarray(jax.jit(model.interval_margins)(params, state, *box, label))
    apply = jax.jit(model.apply)
    for _ in range(100):
        share = draw.choice([0.0, 1.0, draw.uniform()], size=image.shape)
        z = np.asarray(apply(params, state, box[0] + share * (box[1] - box[0]))[0])
        margin = np.take_along_axis(z, label[:, None], 1) - z
        assert (margin >= bound - 1e-12).all()
    own = np.take_along_axis(np.asarray(logits), label[:, None], 1) - logits
    lipschitz = own - eps * model.lipschitz_bound(params, state).pairwise[label]
    if "hidden" not in changes:  # the head's constant has no interval at its inputs
        others = np.arange(3) != label[:, None]
        assert (bound >= lipschitz - 1e-12)[others].all()


def test_a_negative_scale_turns_the_bounds_of_plain_nets_and_ends_those_of_hybrids(x64):
    """A learnt scale may be of any sign; at the image itself bounds are its margins."""
    draw = np.random.default_rng(0)
    image = draw.uniform(size=(5, 4, 4, 1))
    low, high = np.maximum(image - 0.2, 0), np.minimum(image + 0.2, 1)
    for changes in ({}, {"hidden": 5}):
        model = small(**changes)
        params, state = jax.jit(model.init)(jax.random.key(1))
        params = params | {"scale": jnp.float64(-0.7)}
        apply, bounds = jax.jit(model.apply), jax.jit(model.interval_margins)
        label = np.asarray(apply(params, state, image)[0].argmax(1))

        def margins(x, apply=apply, params=params, state=state, label=label):
            z = np.asarray(apply(params, state, x)[0])
            return np.take_along_axis(z, label[:, None], 1) - z

        found = np.asarray(bounds(params, state, low, high, label))
        pairwise = model.lipschitz_bound(params, state).pairwise
        if changes:
            assert np.isnan(found).all()
            assert (pairwise >= 0).all() and pairwise[0, 1] > 0
            continue
        np.testing.assert_allclose(pairwise, 2 * 0.7 / 0.2009, rtol=1e-9)
        for _ in range(20):
            x = low + draw.uniform(size=low.shape).round() * (high - low)
            assert (margins(x) >= found - 1e-12).all()
        at = bounds(params, state, image, image, label)
        np.testing.assert_allclose(at, margins(image), atol=1e-12)


def test_parts_of_an_image_are_read_alike_and_the_head_sees_all_of_them(x64):
    """Against loops over positions. The mean is over images and positions."""
    model = small(hidden=5, stride=1, depth=4)
    params, state = jax.jit(model.init)(jax.random.key(1))
    params = jax.tree.map(np.asarray, params)
    image = np.random.default_rng(0).uniform(size=(3, 4, 4, 1))
    x, parts = (image - 0.3) / 0.2009, []
    for i in (0, 1):
        for j in (0, 1):
            y = x[:, i : i + 3, j : j + 3].reshape(3, 9)
            for layer in ("dist_0", "dist_1"):
                kernel = params[layer]["kernel"]
                y = np.abs(y[:, :, None] - kernel).max(1)
                if layer == "dist_0":
                    parts.append(y)
            parts[-1] = parts[-1], y
    joined = np.concatenate([y for _, y in parts], 1)
    head = params["head"]
    for layer, width in (("linear", 4 * 12), ("final", 5)):
        joined = joined @ head[layer]["kernel"] / math.sqrt(width) + head[layer]["bias"]
        joined = np.tanh(joined) if layer == "linear" else joined
    logits, _ = jax.jit(model.apply)(params, state, image)
    np.testing.assert_allclose(logits, joined, rtol=1e-12)
    _, after = jax.jit(partial(model.apply, train=True))(params, state, image)
    mean = np.mean([first for first, _ in parts], (0, 1))
    found = after["mean_shift"]["shift_0"]["mean"]
    np.testing.assert_allclose(found, 0.1 * mean, rtol=1e-6)


def test_parts_of_an_image_keep_the_same_units():
    """Of two images in groups of one, the second may keep others."""
    model = small(hidden=5, stride=1, depth=4, rho=0.5, group=1)
    params, state = model.init(jax.random.key(0))
    image = jax.random.uniform(jax.random.key(1), (2, 4, 4, 1))
    kept = jnp.asarray([[0, 3, 5], [1, 3, 7]])
    run = jax.jit(partial(model.apply, train=True, p=8, kept=(kept, kept)))
    _, after = run(params, state, image)
    moved = np.flatnonzero(after["mean_shift"]["shift_0"]["mean"])
    assert moved.tolist() == [0, 1, 3, 5, 7]


@pytest.mark.parametrize(
    "row, count", [("imagenet64,2x", 204_147_689), ("tiny_imagenet,2x", 170_742_473)]
)
def test_published_networks_of_parts_have_their_number_of_parameters(row, count):
    section = configs.load(f"configs/sortnet/imagenet.py:{row}").model
    model = configs.build("models", section)
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == count


def test_identity_start_copies_inputs():
    model = small(width=20, identity=10.0)
    params, state = model.init(jax.random.key(0))
    kernel = np.asarray(params["dist_0"]["kernel"])
    assert (kernel[np.arange(20) % 16, np.arange(20)] == -10).all()
    assert (np.asarray(params["dist_1"]["kernel"])[np.diag_indices(20)] == -10).all()
    assert (np.asarray(params["last"]["kernel"]) > -9).all()


def test_dropped_units_change_nothing():
    """Nor does what they compute: only kept outputs are read."""
    model = small(rho=0.5, group=2)
    params, state = model.init(jax.random.key(0))
    image = jax.random.uniform(jax.random.key(1), (3, 4, 4, 1))
    kept = tuple(jnp.asarray([[0, 3, 5], [1, 3, 7]]) for _ in range(2))
    run = jax.jit(partial(model.apply, train=True, p=8, kept=kept))
    logits, after = run(params, state, image)
    unused = np.setdiff1d(np.arange(12), [0, 1, 3, 5, 7])
    changed = jax.tree.map(jnp.copy, params)
    changed["dist_1"]["kernel"] = changed["dist_1"]["kernel"].at[:, unused].set(9.0)
    again, _ = run(changed, state, image)
    np.testing.assert_array_equal(logits, again)
    assert (np.asarray(after["mean_shift"]["shift_0"]["mean"])[unused] == 0).all()


def test_training_draws_other_units_for_every_key():
    model = small(rho=0.5)
    params, state = model.init(jax.random.key(0))
    image = jnp.ones((2, 4, 4, 1)) / 2
    run = jax.jit(partial(model.apply, train=True, p=8))
    outs = [run(params, state, image, key=jax.random.key(k))[0] for k in (0, 0, 1)]
    assert (outs[0] == outs[1]).all() and (outs[0] != outs[2]).any()


@pytest.mark.parametrize(
    "changes,words",
    [
        ({"rho": 1.0}, names("model.rho", 1.0)),
        ({"rho": -0.1}, names("model.rho", -0.1)),
        ({"depth": 1}, names("model.depth", 1)),
        ({"depth": 2, "hidden": 4}, names("model.depth", 2)),
        ({"hidden": -1}, names("model.hidden", -1)),
        ({"group": 0}, names("model.group", 0)),
        ({"stride": 1}, names("model.stride", 1, "model.hidden")),
        ({"stride": 4, "hidden": 4}, names("model.stride", 4)),
        ({"std": 0.0}, names("model.std", 0.0)),
        ({"std": (0.2, 0.2, 0.2)}, names("model.std", "(0.2, 0.2, 0.2)")),
        ({"mean": (0.1, 0.2)}, names("model.mean", 2, 1)),
        ({"num_terms": 0}, names("model.num_terms", 0)),
        ({"width": 0}, names("model.width", 0)),
    ],
    ids=str,
)
def test_impossible_network_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        small(**changes)


@pytest.mark.parametrize(
    "make,settings,words",
    [
        (linf_dist.make, {"eps": 0.0}, names("method.eps", 0.0)),
        (
            sortnet.make,
            {"eps": 0.1, "eps_end": 5},
            names("method.eps_end", "model.hidden"),
        ),
        (sortnet.make, {"eps": 0.1, "loss": "hinge"}, names("method.loss", "hinge")),
        (
            linf_dist.make,
            {"eps": 0.1, "loss": "ce_hinge"},
            names("method.loss", "ce_hinge"),
        ),
        (
            linf_dist.make,
            {"eps": 0.1, "p_start": 3, "p_end": 2},
            names("method.p_end", 2),
        ),
        (linf_dist.make, {"eps": 0.1, "lam_end": 0.0}, names("method.lam_end", 0.0)),
        (linf_dist.make, {"eps": 0.1, "mix": 1.5}, names("method.mix", 1.5)),
    ],
)
def test_impossible_training_is_refused(make, settings, words):
    with pytest.raises(InputError, match=words):
        make(small(), RUN, **settings)
