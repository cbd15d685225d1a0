"""EDM's DDPM++ denoiser: one evaluation, images by an 18-step sampler, and a training step.

All sides read one state dict with the names of EDM's own.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from benchmarks import weights
from benchmarks.suite import Job, Program, Row

CLASSES = 10
SIGMA_MAX, SIGMA_MIN, RHO = 80.0, 0.002, 7.0
FILTER = "resample_filter"


def rows(device: str, tiny: bool) -> list[Row]:
    if tiny:
        sizes = dict(width=8, multipliers=(1, 2), blocks=1, attention=(4,), side=8)
        some = _row(sizes, 2, "float32"), _row(sizes, 2, "float32", steps=3)
        small = sizes | dict(multipliers=(1,), attention=())  # its gradient compiles
        return [*some, _training_row(small, 2, "float32")]
    if device == "cpu":
        sizes = dict(width=32, multipliers=(1, 2), blocks=1, attention=(16,), side=32)
        return [_row(sizes, 8, "float32")]
    sizes = dict(width=128, multipliers=(2, 2, 2), blocks=4, attention=(16,), side=32)
    some = _row(sizes, 1024, "bfloat16"), _row(sizes, 256, "bfloat16", steps=18)
    return [*some, _training_row(sizes, 512, "bfloat16")]


def facts(shape: dict[str, Any]) -> dict[str, Any]:
    """Return the facts as `jaxcert.torch_import.edm_unet` names them."""
    return dict(
        kind="ddpmpp",
        num_classes=CLASSES,
        width=shape["width"],
        multipliers=tuple(shape["multipliers"]),
        blocks=shape["blocks"],
        attention=tuple(shape["attention"]),
        embedding=4,
        augment_labels=0,
    )


def state_dict(shape: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return random weights that keep the size of activations. The output is damped, so
    that the sides of a sampler do not drift apart."""
    found, rng = {}, np.random.default_rng(shape["width"])
    for name, size in _tensors(shape).items():
        z = rng.standard_normal(size, np.float32)
        if name.endswith(FILTER):
            z = np.full(size, 1 / math.prod(size), np.float32)
        elif len(size) > 1:
            z /= np.float32(math.prod(size[1:]) ** 0.5)
        else:
            z = ("norm" in name and name.endswith("weight")) + np.float32(0.1) * z
        found[name] = z * np.float32(0.1) if "aux_conv" in name else z
    return found


def network(row: Row):
    """Return the denoiser with the weights of `state_dict`, as interfaces.Network. It
    is made without jaxcert.config, whose ml_collections a machine may not have."""
    import jax
    import jax.numpy as jnp

    from jaxcert.interfaces import Network
    from jaxcert.models import edm_unet
    from jaxcert.torch_import import edm_unet as names

    image_shape = (row.shape["side"], row.shape["side"], 3)
    params, state, known = names.convert_state_dict(state_dict(row.shape), image_shape)
    model = edm_unet.make(image_shape=image_shape, dtype=row.dtype, **known)
    like = jax.eval_shape(model.init, jax.random.key(0))
    cast = jax.tree.map(lambda s, a: jnp.asarray(a, s.dtype), like, (params, state))
    return Network(model, *cast)


def batch(shape: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return noisy images [B,H,W,3] in [-1, 1] and noise, sigma [B], label [B]."""
    count, side = shape["batch"], shape["side"]
    sigma = np.geomspace(0.02, 5, count, dtype=np.float32)
    noise = weights.normal(count, side, side, 3, seed=3)
    x = 2 * weights.images(count, side) - 1 + sigma[:, None, None, None] * noise
    return x, sigma, weights.labels(count)


def latent(shape: dict[str, Any]) -> np.ndarray:
    return weights.normal(shape["batch"], shape["side"], shape["side"], 3, seed=4)


def jaxcert(row: Row, device: str) -> Job:
    import jax
    import jax.numpy as jnp

    from jaxcert.diffusion import edm, sampler

    shape, denoiser = row.shape, network(row)
    x, sigma, label = jax.device_put(batch(shape))
    parameters = denoiser.params, denoiser.state

    def denoise(params, state, x, sigma):
        return denoiser.model.apply(params, state, x, sigma=sigma, label=label)[0]

    def sample(params, state, start):
        def at(x, level):
            return denoise(params, state, x, jnp.full(len(x), level))

        levels = edm.schedule(
            shape["steps"], sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX, rho=RHO
        )
        return sampler.heun(at, start, levels)

    if shape.get("train"):
        call, given = jax.jit(_training_step(denoiser.model)), (x, sigma, label)
    elif shape["steps"]:
        call, given = jax.jit(sample), (jax.device_put(latent(shape)),)
    else:
        call, given = jax.jit(denoise), (x, sigma)

    def run():
        return jax.block_until_ready(call(*parameters, *given))

    def program():
        return Program(call, (*parameters, *given))

    if shape.get("train"):
        return Job(run, program=program)
    return Job(run, lambda reference: dict(image=np.asarray(run())), program)


def _training_step(model):
    """Return the step: the loss, its gradient and one step of Adam, which gives new
    parameters."""
    import jax
    import optax

    from jaxcert.methods import edm

    def step(params, state, image, sigma, label):
        key = jax.random.key(0)
        noise = jax.random.normal(key, image.shape)

        def loss(params):
            return edm.objective(
                model, params, state, image, label, sigma, noise, key=key
            )[0]

        tx = optax.adam(1e-3)
        updates, _ = tx.update(jax.grad(loss)(params), tx.init(params))
        return optax.apply_updates(params, updates)

    return step


def flops(shape: dict[str, Any], evaluations: int) -> float:
    """Return the FLOPs of that many images through the network."""
    return 2.0 * evaluations * _macs(shape)


def _row(sizes: dict[str, Any], count: int, dtype: str, *, steps: int = 0) -> Row:
    """Return the row of a sampler with that many steps; 0: of one evaluation."""
    shape = dict(**sizes, batch=count, steps=steps)
    evaluations = max(1, 2 * steps - 1)
    low = dtype == "bfloat16"
    size = sum(map(math.prod, _tensors(shape).values())) * (2 if low else 4)
    return Row(
        f"DDPM++ sampling, {steps} steps" if steps else "DDPM++ evaluation",
        shape,
        dtype,
        tolerance=dict(image=0.05 if low else 1e-4),
        flops=flops(shape, count * evaluations),
        bytes=float(evaluations * size),
        rate="bfloat16" if low else "tf32",
        items=count,
    )


def _training_row(sizes: dict[str, Any], count: int, dtype: str) -> Row:
    """Return the row of a training step, of jaxcert alone; the gradient costs twice a
    forward pass."""
    row = _row(sizes, count, dtype)
    return row._replace(
        workload="DDPM++ training step alone",
        shape={**row.shape, "train": True},
        tolerance={},
        flops=3 * row.flops,
        sides=("jaxcert",),
    )


def _tensors(shape: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    from jaxcert.torch_import import edm_unet

    return edm_unet.tensors(facts(shape), (shape["side"], shape["side"], 3))


def _macs(shape: dict[str, Any]) -> int:
    """Return the products of one image; the names say at how many pixels a kernel is
    applied."""
    total = 0
    for name, size in _tensors(shape).items():
        if len(size) < 2 or name.endswith(FILTER):
            continue
        found = re.match(r"(?:enc|dec)\.(\d+)x", name)
        pixels = int(found[1]) ** 2 if found and len(size) == 4 else 1
        total += pixels * math.prod(size)
        if name.endswith("qkv.weight"):
            total += 2 * pixels**2 * size[1]
    return total
