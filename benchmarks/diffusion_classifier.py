"""Votes of APNDC with a DDPM++ denoiser: all classes at all levels, and raced.

One function on all sides: logits of noisy images for given noise, the same weights as
in sampler.py. A race visits other pairs, so it has no peer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import sampler, weights
from benchmarks.suite import Job, Program, Row

SIGMA_TAU = 0.5


def rows(device: str, tiny: bool) -> list[Row]:
    if tiny:
        sizes = dict(width=8, multipliers=(1, 2), blocks=1, attention=(4,), side=8)
        return [_row(sizes, 2, 4, "float32"), _row(sizes, 2, 4, "float32", race=True)]
    if device == "cpu":
        sizes = dict(width=32, multipliers=(1, 2), blocks=1, attention=(16,), side=32)
        return [_row(sizes, 2, 6, "float32", race=True), _row(sizes, 1, 4, "float32")]
    sizes = dict(width=128, multipliers=(2, 2, 2), blocks=4, attention=(16,), side=32)
    full = _row(sizes, 4, 126, "bfloat16")
    return [full, _row(sizes, 64, 126, "bfloat16", race=True)]


def given(shape: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Return noisy images [B,H,W,3] in [-1, 1], and noise of the levels [T,B,H,W,3]."""
    count, side, levels = shape["batch"], shape["side"], shape["levels"]
    noise = weights.normal((levels + 1) * count, side, side, 3, seed=5)
    noise = noise.reshape(levels + 1, count, side, side, 3)
    x = 2 * weights.images(count, side) - 1 + SIGMA_TAU * noise[0]
    return x.astype(np.float32), noise[1:]


def law(shape: dict[str, Any]):
    """Return the levels and weights that all sides use."""
    from jaxcert.diffusion import classifiers

    return classifiers.apndc(sampler.CLASSES, shape["levels"], SIGMA_TAU)


def jaxcert(row: Row, device: str) -> Job:
    import jax
    import jax.numpy as jnp

    from jaxcert.diffusion import classifiers, racing

    shape, network = row.shape, sampler.network(row)
    known, parameters = law(shape), (network.params, network.state)
    x, noise = jax.device_put(given(shape))

    def denoiser(params, state):
        def denoise(x, sigma, label):
            return network.model.apply(params, state, x, sigma=sigma, label=label)[0]

        return denoise

    def full(params, state, x, noise):
        at = jnp.asarray(noise)
        return classifiers.logits(denoiser(params, state), known, x, lambda t: at[t])

    def race(params, state, x, noise):
        label, spent = racing.race(
            denoiser(params, state),
            known,
            x,
            lambda t: noise[t],
            order=racing.closest_first(known.levels, 1.3 * SIGMA_TAU),
            rule=racing.confident(2.0),
            block=64 if device == "cpu" else 2048,
        )
        return label, spent.mean()

    call = jax.jit(race if shape["race"] else full)

    def run():
        return jax.block_until_ready(call(*parameters, x, noise))

    def program():
        return Program(call, (*parameters, x, noise), loops=0 if shape["race"] else 1)

    if shape["race"]:
        return Job(run, program=program)
    return Job(run, lambda reference: dict(logits=np.asarray(run())), program)


def _row(sizes, votes: int, levels: int, dtype: str, *, race: bool = False) -> Row:
    shape = dict(**sizes, batch=votes, levels=levels, race=race)
    evaluations = votes * (1 + levels * sampler.CLASSES)
    low = dtype == "bfloat16"
    return Row(
        "APNDC votes raced, alone" if race else "APNDC votes",
        shape,
        dtype,
        tolerance={} if race else dict(logits=0.05 if low else 1e-3),
        flops=0.0 if race else sampler.flops(shape, evaluations),
        rate="bfloat16" if low else "tf32",
        items=votes,
        sides=("jaxcert",) if race else ("jaxcert", "peer", "strong"),
    )
