"""Run by test_devices.py in a process with 8 forced host devices; prints JSON.

The same few steps on 1 device and on 8, for a Lipschitz network and for one with
BatchNorm, and what was compiled on the way.
"""

import json
from functools import partial

import jax
import numpy as np
from jax.sharding import AxisType

from jaxcert.certificates import lipschitz
from jaxcert.data import loader, mixture, sources
from jaxcert.data.augment import augment
from jaxcert.interfaces import Network, Run
from jaxcert.methods import gaussian, lot
from jaxcert.models import lip_convnet, small_cnn
from jaxcert.training import optim, sharding, step

STEPS, BATCH = 3, 16


def run(model, method, tx, mesh):
    real = sources.open("digits", "train")
    plan = mixture.make(len(real.label), 0, batch=BATCH)
    key = jax.random.key(0)
    state = step.init_state(model, method, tx, key=key, ema=0.9)
    state = sharding.replicate(state, mesh)
    compiled = step.compile(
        method, tx, augment=partial(augment, crop=1), mesh=mesh, ema=0.9
    )
    totals, losses = None, []
    for batch in loader.batches(real, None, plan, 0, mesh=mesh, total=STEPS):
        state, totals = compiled(state, totals, batch, key)
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
    tx = optim.make(Run(10, 10, 1000), lr=0.1)
    lip = lip_convnet.make(
        image_shape=(8, 8, 1), stages=3, width=2, blocks=1, num_classes=10, mean=(0.3,)
    )
    small = small_cnn.make(image_shape=(8, 8, 1), width=4, mean=(0.3,), std=(0.3,))
    systems = {
        "lot": (lip, lot.make(lip, None)),
        "gaussian": (small, gaussian.make(small, None, sigma=0.25, m=2)),
    }
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
    print(json.dumps(found))


if __name__ == "__main__":
    main()
