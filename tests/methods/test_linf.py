"""Losses, schedules and optimizers of l_inf-dist Net and SortNet: the originals' arrays."""

from __future__ import annotations

import re
import runpy
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import Golden, close, golden_each

from jaxcert.interfaces import Run
from jaxcert.methods import _linf, linf_dist, sortnet
from jaxcert.models import dist_net
from jaxcert.training import optim

CONFIGS = Path(__file__).parents[2] / "configs"
PRESETS = {
    r"cifar_(\d+)_255": ("linf_dist", r"\1"),
    r"icml_hinge_\d+": ("linf_dist", "hinge"),
    r"cifar(\d+)_255": ("sortnet", r"\1"),
    r"cifar(\d+)_255_mlp": ("sortnet", r"\1,mlp"),
}
"""Name of a golden schedule -> folder and row of its config."""


def preset(name):
    for pattern, (folder, row) in PRESETS.items():
        if match := re.fullmatch(pattern, name):
            config = str(CONFIGS / folder / "cifar10.py")
            return runpy.run_path(config)["get_config"](match.expand(row))
    raise AssertionError(f"{name}: no config has this schedule")


@pytest.mark.golden("linf")
@golden_each("linf", "losses_*.npz")
def test_losses_are_the_originals_in_value_and_gradient(x64, file):
    golden = Golden(file)
    names = ("logits", "worst", "targets")
    logits, worst, label = (golden[name] for name in names)
    lam = float(golden["lam"]) if "lam" in golden else 0.05
    names = [n.removesuffix("_value") for n in golden if n.endswith("_value")]
    for name in [name for name in names if name != "f_mixture"]:
        value, grads = jax.value_and_grad(_loss(name, lam), argnums=(0, 1))(
            logits.astype(np.float64), worst.astype(np.float64), label
        )
        close(value, golden[f"{name}_value"], 1e-8)
        expected = [golden[f"{name}_d{argument}"] for argument in ("logits", "worst")]
        close(np.stack(grads), np.stack(expected), 1e-8)  # one of them may be 0
    if "f" in golden:
        _check_chain(golden, label)
    assert not golden.unread()


def _loss(name, lam):
    """mixture_lam0_05, hinge_mix0_25: the setting is in the name."""
    base, setting, number = re.fullmatch(
        r"(\w+?)(?:_(lam|mix)(\d+(?:_\d+)?))?", name
    ).groups()
    number = float((number or "0").replace("_", "."))
    if base == "hinge":
        mix = dict(mix=number) if setting == "mix" else {}
        return lambda logits, worst, label: _linf.hinge(worst, **mix)
    return partial(sortnet.LOSSES[base], lam=number if setting == "lam" else lam)


def _check_chain(golden, label):
    """From raw outputs f through the margins to the loss."""
    f, eps = golden["f"].astype(np.float64), float(golden["eps"])

    def loss(f):
        worst = dist_net.worst_of(f, label, eps)
        logits = float(golden["f_scalar"]) * f
        return _linf.mixture(logits, worst, label, lam=float(golden["f_lam"])), worst

    (value, worst), grad = jax.value_and_grad(loss, has_aux=True)(f)
    close(worst, golden["f_worst"], 1e-6)  # stored in float32
    close(value, golden["f_mixture_value"], 1e-7)
    close(grad, golden["f_mixture_grad"], 1e-7)


@pytest.mark.golden("linf")
@golden_each("linf", "schedule_*.npz")
def test_schedules_of_the_configs_are_the_originals(x64, file):
    golden = Golden(file)
    columns, per_epoch = golden["columns"].tolist(), int(golden["batches_per_epoch"])
    for name in [n for n in golden if n not in ("columns", "batches_per_epoch")]:
        config = preset(name)
        method = config.method
        run = Run(per_epoch, config.data.epochs * per_epoch, 50_000)
        rate = optax.cosine_decay_schedule(config.optim.lr, run.total_steps)
        factor = config.optim.factors.get("scale", 1.0)
        for line in golden[name]:
            expected = dict(zip(columns, line, strict=True))
            step = int(expected["epoch"]) * per_epoch + int(expected["batch"])
            r = _linf.ratio(step, run, method.p_start, method.p_end)
            # near its end the rate is a difference of two ones
            tolerance = dict(rtol=1e-9, atol=4 * np.finfo(float).eps * config.optim.lr)
            np.testing.assert_allclose(rate(step), expected["lr"], **tolerance)
            if config.model.get(
                "learn_scale", True
            ):  # else the scalar is fixed and has no rate
                scalar = factor * rate(step)
                np.testing.assert_allclose(scalar, expected["lr_scalar"], **tolerance)
            phase = _linf.phase_of(step, run, method.p_start, method.p_end)
            p = {"p8": 8, "general": float(_linf.p_schedule(r)), "inf": np.inf}[phase]
            np.testing.assert_allclose(p, expected["p"], rtol=1e-9)
            eps = method.eps
            if method.get("eps_end", 0.0):
                eps_ratio = _linf.ratio(step, run, method.eps_start, method.eps_end)
                eps = eps * float(_linf.eps_ramp(eps_ratio))
            # the originals truncate k/255 to a few decimals; ours are exact
            np.testing.assert_allclose(
                eps / config.model.std, expected["eps_train_normalised"], rtol=3e-4
            )
            lam = _linf.log_linear(r, method.lam, method.lam_end) if method.lam else 0.0
            np.testing.assert_allclose(lam, expected["lam"], rtol=1e-9)
    assert not golden.unread()


@pytest.mark.golden("linf")
@golden_each("linf", "optimizer_*.npz")
def test_optimizers_are_the_originals(x64, file):
    """The second row of AdamW's arrays decays, the first does not: two groups by name."""
    golden = Golden(file)
    decays = "weight_decay" in golden
    rows = golden["weight_decay"] if decays else np.zeros(1)
    start, grads = (golden[name].astype(np.float64) for name in ("p0", "grads"))
    start, grads = (a if decays else a[..., None, :] for a in (start, grads))
    names = [f"row{i}" for i in range(len(rows))]
    rates = iter(np.asarray(golden["lrs"]))
    run = Run(1, len(grads), 1)
    tx = optim.make(
        run,
        name="adamw" if decays else "adam",
        lr=1.0,
        schedule="constant",
        b1=0.9,
        b2=0.99,
        eps=1e-10,
        weight_decay=float(rows.max()),
        decay_only=tuple(n for n, w in zip(names, rows, strict=True) if w),
    )
    params = {name: jnp.asarray(row) for name, row in zip(names, start, strict=True)}
    state = tx.init(params)
    for grad, expected in zip(grads, golden["params"], strict=True):
        tree = {name: jnp.asarray(g) for name, g in zip(names, grad, strict=True)}
        updates, state = tx.update(tree, state, params)
        rate = float(next(rates))  # updates are proportional to the rate
        params = jax.tree.map(lambda p, u: p + rate * u, params, updates)  # noqa: B023
        found = np.stack([params[name] for name in names])
        close(found if decays else found[0], expected, 1e-12)
    assert not golden.unread()


@pytest.mark.parametrize("name", ["cifar_8_255", "icml_hinge_800", "cifar8_255_mlp"])
def test_an_epoch_of_the_configs_has_the_originals_batches(name):
    config = preset(name)
    assert config.data.epoch_images // config.data.batch == 98


def test_p_rises_without_a_jump_and_its_programs_follow_the_marks():
    run = Run(10, 100, 1)
    method = linf_dist.make(
        dist_net.make(image_shape=(4, 4, 1), depth=2, width=8, mean=(0.3,)),
        run,
        eps=0.1,
        p_start=2,
        p_end=8,
    )
    phases = [method.phase(t) for t in range(100)]
    assert phases == ["p8"] * 21 + ["general"] * 59 + ["inf"] * 20
    p = [float(_linf.p_schedule(_linf.ratio(t, run, 2, 8))) for t in range(100)]
    assert p[20] == 8 and abs(p[80] - 1000) < 1e-2
    assert all(1 <= b / a < 1.1 for a, b in zip(p, p[1:], strict=False))


def test_eps_ramp_is_smooth_and_ends_at_one():
    r = np.linspace(0, 1, 1001)
    ramp = np.asarray(_linf.eps_ramp(r))
    assert ramp[0] == 0 and abs(ramp[-1] - 1) < 1e-6
    assert (np.diff(ramp) >= 0).all() and np.abs(np.diff(ramp, 2)).max() < 1e-4


def test_means_are_re_estimated_for_what_is_evaluated():
    """The saved state is that of p = infinity, whatever p the training was at."""
    model = dist_net.make(
        image_shape=(4, 4, 1), depth=3, width=24, rho=0.25, mean=(0.3,)
    )
    run = Run(1, 10, 1)
    method = sortnet.make(model, run, eps=0.1, p_start=5, p_end=9)
    params, state = model.init(jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (3, 16, 4, 4, 1))
    train_state = _TrainState(params, state, None)
    found = method.calibrate(train_state, lambda: [{"image": x} for x in images])
    first = found["mean_shift"]["shift_0"]["mean"]
    kernel = np.asarray(params["dist_0"]["kernel"])
    x = (np.asarray(images).reshape(48, 16) - 0.3) / 0.2009
    mean = np.abs(x[:, :, None] - kernel).max(1).mean(0)
    np.testing.assert_allclose(first, mean, rtol=1e-5)
    assert not np.allclose(first, state["mean_shift"]["shift_0"]["mean"])


class _TrainState:
    def __init__(self, params, model_state, ema):
        self.params, self.model_state, self.ema = params, model_state, ema


@pytest.mark.parametrize(
    "make,share", [(linf_dist.make, 0.25), (sortnet.make, 0.25**4 / (2.8 * 0.4**3))]
)
def test_eps_of_hybrids_rises_as_in_each_papers_command(make, share):
    """A quarter of the way: linearly in linf_dist, below that and smoothly in sortnet."""
    model = dist_net.make(
        image_shape=(4, 4, 1),
        num_classes=3,
        depth=3,
        width=4,
        hidden=4,
        mean=(0.3,),
        std=0.25,
    )
    seen = []

    def apply(params, state, image, *, eps, **_):
        seen.append(eps)
        return (jnp.zeros((2, 3)), jnp.zeros((2, 3))), state

    run = Run(steps_per_epoch=10, total_steps=100, data_size=20)
    method = make(
        model._replace(apply=apply), run, eps=0.5, loss="crossentropy", eps_end=4.0
    )
    batch = dict(image=jnp.zeros((2, 4, 4, 1)), label=jnp.zeros(2, int))
    for step in (0, 10, 40, 70):
        method.loss({}, {}, {}, batch, None, step, method.phase(step))
    np.testing.assert_allclose(seen, [0, 0.5 * share, 0.5, 0.5], rtol=1e-6)
