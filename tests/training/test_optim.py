"""Optimizers and schedules against PyTorch and timm, in float64."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import Golden, close, golden_files
from refusals import names

from jaxcert.errors import InputError
from jaxcert.interfaces import Run
from jaxcert.ops.margins import training_radius
from jaxcert.training import optim

EXACT = 1e-12
RATE = dict(rtol=EXACT, atol=1e-16)  # rates fall by orders: each is compared


def trajectory(tx, start, grads):
    """Parameters after each step."""
    params, state, seen = jnp.asarray(start), tx.init(jnp.asarray(start)), []
    update = jax.jit(tx.update)
    for g in grads:
        updates, state = update(jnp.asarray(g), state, params)
        params = optax.apply_updates(params, updates)
        seen.append(params)
    return np.array(seen)


@pytest.mark.golden("lipschitz_l2")
def test_every_array_of_the_original_optimizers(x64):
    for path in golden_files("lipschitz_l2", "schedules_optimizers*.npz"):
        g = Golden(path)
        _check_schedules(g)
        _check_optimizers(g)
        assert not g.unread()


def _check_schedules(g):
    steps = g["ms_steps"]
    # the run's length is not stored: the step nearest to halfway down the cosine tells it
    half = np.abs(g["cos_lr"] - 0.05).argmin()
    total = round(np.pi * steps[half] / np.arccos(g["cos_lr"][half] / 0.05 - 1))
    multistep = optim.multistep(0.1, total, (0.5, 0.75))
    np.testing.assert_allclose([multistep(i) for i in steps], g["ms_lr"], **RATE)
    cosine = optax.cosine_decay_schedule(0.1, total)
    ours = [cosine(int(i)) for i in steps]
    np.testing.assert_allclose(ours, g["cos_lr"], **RATE)
    epochs, per_epoch, warm = (int(v) for v in g["wc_conf"])
    schedule = optim.warmup_cosine(1e-3, epochs * per_epoch, warm * per_epoch)
    ours = [schedule(int(i)) for i in g["wc_steps"]]
    np.testing.assert_allclose(ours, g["wc_lr"], **RATE)
    epochs = _ramp_epochs(g, otherwise=epochs)
    for name, end in (("eps_v1", 1.5), ("eps_pp", 3.0)):
        ours = training_radius(
            g["eps_epochs"], epochs, eps=36 / 255, start=0.1, end=end
        )
        close(ours, g[name], EXACT)


def _ramp_epochs(g, *, otherwise):
    """The ramp of the radius tells its own length, if an epoch inside it is stored."""
    ramp = (g["eps_v1"] / (36 / 255) - 0.1) / 1.4  # min(2 epoch / epochs, 1)
    last = np.where(ramp < 1 - 1e-9, ramp, 0).argmax()
    inside = 1e-9 < ramp[last] < 1 - 1e-9
    return round(2 * g["eps_epochs"][last] / ramp[last]) if inside else otherwise


def _check_optimizers(g):
    start, grads, run = g["opt_p0"], g["opt_grads"], Run(1000, 1000, 1000)

    def make(**kwargs):
        return optim.make(run, schedule="constant", **kwargs)

    def check(name, tx, grads=grads):
        close(trajectory(tx, start, grads), g[name], EXACT)

    check("adamw_traj", make(name="adamw", lr=1e-3, weight_decay=1e-4))
    check("nadam_traj", make(name="nadam", lr=1e-3))
    check("nadam_wd_traj", make(name="nadam", lr=1e-3, weight_decay=4e-5))
    check("sgdm_traj", make(name="sgd", lr=0.1, momentum=0.9))
    ahead = make(name="nadam", lr=1e-3, lookahead=True)
    check("lookahead_nadam_traj", ahead)
    for name in [n for n in g if re.fullmatch(r"lookahead\d+_traj", n)]:
        check(name, ahead, g[name.replace("traj", "grads")])
    # the end of an epoch after the last step
    epoch = Run(len(grads), 10 * len(grads), 1000)
    ends = optim.make(epoch, name="nadam", lr=1e-3, schedule="constant", lookahead=True)
    after = trajectory(ends, start, grads)[-1]
    close(after, g["lookahead_after_sync"], EXACT)

    grads = [jnp.asarray(g["clip_g0"]), jnp.asarray(g["clip_g1"])]
    close(optax.tree.norm(grads), g["clip_norm"], EXACT)
    clipped, _ = optim.clip_by_global_norm(3.0).update(grads, optax.EmptyState())
    for ours, name in zip(clipped, ("clip_o0", "clip_o1"), strict=True):
        close(ours, g[name], EXACT)


def test_gradient_accumulation_equals_the_large_batch():
    run, grads = Run(4, 8, 100), np.random.default_rng(0).normal(size=(8, 3))
    start = np.ones(3)
    small = trajectory(optim.make(run, accumulate=2), start, grads)[1::2]
    large = Run(2, 4, 100)
    large = trajectory(optim.make(large), start, grads.reshape(4, 2, 3).mean(1))
    np.testing.assert_allclose(small, large, rtol=1e-5)


def test_schedules_count_optimizer_steps():
    tx = optim.make(Run(4, 8, 100), accumulate=2, schedule="multistep", momentum=0.0)
    moved = np.diff(trajectory(tx, np.zeros(1), np.ones((8, 1)))[:, 0], prepend=0.0)
    np.testing.assert_allclose(
        moved, [0, -0.1, 0, -0.1, 0, -0.01, 0, -0.001], rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize(
    "wrong,message",
    [
        (dict(name="adamax"), names("optim.name", "adamax")),
        (dict(schedule="step"), names("optim.schedule", "step")),
        (dict(lr=0.0), names("optim.lr", 0.0)),
        (dict(factors={"scale": -1.0}), names("optim.factors.scale", -1.0)),
        (dict(accumulate=0), names("optim.accumulate", 0)),
    ],
)
def test_unknown_names_and_impossible_numbers_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        optim.make(Run(1, 1, 1), **wrong)
