"""EDM's networks: one evaluation, and images by the sampler as `jaxcert.generate` runs it."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from benchmarks.compiled import shapes, target
from benchmarks.compiled.programs import Built
from jaxcert import image_generation
from jaxcert.diffusion import edm, sampler
from jaxcert.interfaces import Network


def build(
    devices: int,
    *,
    which: str,
    config: str,
    batch: int,
    steps: int = 0,
    churn: tuple[float, ...] = (),
) -> Built:
    """Return the program of EDM's network. which: evaluate | sample. batch: images of
    one device; churn: the arguments of sampler.Churn."""
    model = shapes.model_of(shapes.load(config, "bf16"))
    params, state = target.on(shapes.network(model), devices)
    count = batch * devices
    label = target.on(shapes.Shape((count,), jnp.int32), devices, split=True)
    shape = dict(batch=batch, image=list(model.image_shape))
    if which == "evaluate":
        image = target.on(shapes.images(model, count), devices, split=True)
        sigma = target.on(shapes.Shape((count,), jnp.float32), devices, split=True)

        def denoise(params, state, x, sigma, label):
            return model.apply(params, state, x, sigma=sigma, label=label)[0]

        lowered = jax.jit(denoise).lower(params, state, image, sigma, label)
        return Built(lowered, batch, shape)
    levels = edm.schedule(steps, sigma_min=0.002, sigma_max=80.0, rho=7.0)
    sample = image_generation.compiled(
        Network(model, params, state),
        levels,
        sampler.Churn(*churn),
        target.mesh(devices),
    )
    number = target.on(shapes.Shape((count,), jnp.int32), devices, split=True)
    key = shapes.key(devices)
    lowered = sample.func.lower(*sample.args, key, number, label)
    return Built(lowered, batch, dict(**shape, steps=steps))
