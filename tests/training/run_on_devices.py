"""Run by test_devices.py in a process with 8 forced host devices; prints JSON.

The same few steps on 1 device and on 8 for the systems named: a Lipschitz network, one with
BatchNorm and a SortNet at finite p; and what a distance layer was compiled to.
"""

import json
import re
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcert import sharding
from jaxcert.certificates import lipschitz
from jaxcert.data import loader, mixture, sources
from jaxcert.data.augment import augment
from jaxcert.interfaces import Network, Run
from jaxcert.methods import gaussian, lot, sortnet
from jaxcert.models import dist_net, lip_convnet, small_cnn
from jaxcert.ops.norm_dist import norm_dist
from jaxcert.training import optim, step

STEPS, BATCH = 3, 16
RUN = Run(10, 10, 1000)


def run(model, method, tx, mesh):
    real = sources.open("digits", "train")
    plan = mixture.make(len(real.label), 0, batch=BATCH)
    key = jax.random.key(0)
    state = step.init_state(
        model.init, tx, key=key, extra=method.init_extra(), ema=True
    )
    state = sharding.replicate(state, mesh)
    compiled = step.compile(
        method, tx, augment=partial(augment, crop=1), mesh=mesh, ema=lambda step: 0.9
    )
    totals, losses = None, []
    batches = loader.batches(real, None, plan, 0, mesh=mesh, total=STEPS)
    for t, batch in enumerate(batches):
        state, totals = compiled(state, totals, batch, key, phase=method.phase(t))
        losses.append(float(totals.sums["loss"]))
    params = np.concatenate([np.ravel(x) for x in jax.tree.leaves(state.params)])
    statistics = [np.ravel(x) for x in jax.tree.leaves(state.model_state)]
    return state, {
        "losses": losses,
        "params": params.tolist(),
        "statistics": np.concatenate(statistics or [np.zeros(1)]).tolist(),
        "ema": float(sum(np.abs(x).sum() for x in jax.tree.leaves(state.ema))),
    }


def main():
    tx = optim.make(RUN, lr=0.1)
    lip = lip_convnet.make(
        image_shape=(8, 8, 1),
        conv="aol",  # compiles in a tenth of LOT's time
        stages=3,
        width=2,
        blocks=1,
        num_classes=10,
        mean=(0.3,),
    )
    small = small_cnn.make(image_shape=(8, 8, 1), width=4, mean=(0.3,), std=(0.3,))
    dist = dist_net.make(
        image_shape=(8, 8, 1),
        depth=3,
        width=12,
        rho=0.25,
        group=2,
        mean=(0.3,),
        std=0.3,
    )
    known = {
        "lot": (lip, lot.make(lip, None)),
        "gaussian": (small, gaussian.make(small, None, sigma=0.25, m=2)),
        "sortnet": (dist, sortnet.make(dist, RUN, eps=0.1, p_start=0.05, p_end=0.9)),
    }
    systems = {name: known[name] for name in sys.argv[1:]}
    found = {}
    for count in (1, 8):
        mesh = jax.make_mesh(
            (count,),
            ("data",),
            axis_types=(AxisType.Auto,),
            devices=jax.devices()[:count],
        )
        for name, (model, method) in systems.items():
            state, found[f"{name}{count}"] = run(model, method, tx, mesh)
            if name == "lot":
                network = Network(model, state.params, state.model_state)
                test = sources.open("digits", "test")
                rows = np.arange(5)
                certificates = lipschitz.make(network, mesh=mesh).certify(
                    None, test.image[rows], test.label[rows], rows
                )
                found[f"radius{count}"] = certificates.radius.tolist()
    found["reductions"] = reductions(mesh)
    if "gaussian" in systems:
        found |= separately(*systems["gaussian"], tx, mesh)
    print(json.dumps(found))


def separately(model, method, tx, mesh):
    """Two steps with batch_statistics "device", the same by a loop over the shards, and the
    sums over devices in a step of either kind."""
    real = sources.open("digits", "train")
    plan = mixture.make(len(real.label), 0, batch=BATCH)
    key, move = jax.random.key(0), partial(augment, crop=1)
    start = step.init_state(model.init, tx, key=key, extra=(), ema=False)
    start = sharding.replicate(start, mesh)
    batches = list(loader.batches(real, None, plan, 0, mesh=mesh, total=2))
    sums, found = {}, {}
    for kind in ("global", "device"):
        take = step.compile(method, tx, augment=move, mesh=mesh, batch_statistics=kind)
        text = take.lower(start, batches[0], key).compile().as_text()
        sums[kind] = len(re.findall(r" all-reduce[-(.]", text))
    state, totals = jax.tree.map(jnp.copy, start), None
    for batch in batches:
        state, totals = take(state, totals, batch, key)
    found["separate"] = flat(state) + [float(totals.sums["loss"])]

    loss = jax.jit(jax.value_and_grad(method.loss, has_aux=True), static_argnums=6)
    state, total = jax.device_put(start, jax.devices()[0]), 0.0
    for t, batch in enumerate(batches):
        k_aug, k_loss = jax.random.split(jax.random.fold_in(key, t))
        batch = move(k_aug, jax.device_put(batch, jax.devices()[0]))
        tables, parts = (state.params, state.model_state, ()), []
        for d, rows in enumerate(np.split(np.arange(BATCH), 8)):
            shard = {k: v[rows] for k, v in batch.items()}
            parts.append(loss(*tables, shard, jax.random.fold_in(k_loss, d), t, None))
        mean = jax.tree.map(lambda *a: sum(a) / 8, *[grads for _, grads in parts])
        total += sum(value for (value, _), _ in parts) / 8
        updates, opt = tx.update(mean, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        (_, (first, _)), _ = parts[0]
        state = state._replace(params=params, opt_state=opt, model_state=first)
    found["loop"] = flat(state) + [float(total)]
    return {**found, "sums": sums}


def flat(state):
    """Parameters and statistics."""
    leaves = jax.tree.leaves((state.params, state.model_state))
    return np.concatenate([np.ravel(x) for x in leaves]).tolist()


def reductions(mesh):
    """Sums over devices in the program of a layer's gradients."""

    def layer(x, w):
        return jax.grad(lambda x, w: norm_dist(x, w, 64.3).sum(), (0, 1))(x, w)

    split = NamedSharding(mesh, PartitionSpec("data"))
    whole = NamedSharding(mesh, PartitionSpec())
    with jax.set_mesh(mesh):
        run = jax.jit(layer, in_shardings=(split, whole))
        text = run.lower(np.ones((16, 6)), np.ones((6, 5))).compile().as_text()
    return len(re.findall(r" all-reduce[-(.]", text))


if __name__ == "__main__":
    main()
