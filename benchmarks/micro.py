"""Ceilings of the device: bandwidth, rates of products and of elementwise operations,
and what a dispatch costs. On a GPU the floors of the other cells use them."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import weights
from benchmarks.suite import Job, Program, Row

CHAIN = 64  # elementwise operations between a read and a write
REPEATS = 10  # calls queued before the wait, so that dispatching costs nothing
DISPATCHES = 200


def rows(device: str, tiny: bool) -> list[Row]:
    elements = 1 << (12 if tiny else 24 if device == "cpu" else 28)
    side = 32 if tiny else 1024 if device == "cpu" else 8192
    shape = dict(ceiling="copy", elements=elements)
    found = [_row("copy", "float32", shape, bytes=8.0 * REPEATS * elements)]
    for kind in ("float32", "bfloat16", "tf32", "tf32x3"):
        if device == "gpu" or kind == "float32":
            shape = dict(ceiling=kind, side=side)
            found.append(
                _row("product", _dtype(kind), shape, flops=2.0 * REPEATS * side**3)
            )
    elements >>= 6 if device == "cpu" else 2
    for kind in ("exp2", "minmax"):
        shape = dict(operation=kind, elements=elements)
        rate = float(REPEATS * CHAIN * elements)
        found.append(_row("elementwise", "float32", shape, items=rate))
        if kind == "minmax":
            found.append(_row("elementwise", "bfloat16", shape, items=rate))
    for kind in ("queued", "waited for"):
        shape = dict(dispatch=kind)
        found.append(_row("empty dispatch", "float32", shape, items=DISPATCHES))
    return found


def jaxcert(row: Row, device: str) -> Job:
    build: dict[str, Callable[[Row], Job]] = {
        "copy": _copy,
        "product": _product,
        "elementwise": _elementwise,
        "empty dispatch": _dispatch,
    }
    return build[row.workload](row)


def _row(workload: str, dtype: str, shape: dict, **figures: float) -> Row:
    return Row(workload, shape, dtype, sides=("jaxcert",), **figures)


def _dtype(kind: str) -> str:
    return "bfloat16" if kind == "bfloat16" else "float32"


def _copy(row: Row) -> Job:
    import jax
    import jax.numpy as jnp

    x = jnp.arange(row.shape["elements"], dtype=row.dtype)
    compiled = jax.jit(lambda x: x + 1)
    return _queued(compiled, x)


def _product(row: Row) -> Job:
    import jax
    import jax.numpy as jnp

    algorithm = {
        "float32": "F32_F32_F32",
        "bfloat16": "BF16_BF16_F32",
        "tf32": "TF32_TF32_F32",
        "tf32x3": "TF32_TF32_F32_X3",
    }[row.shape["ceiling"]]
    preset = getattr(jax.lax.DotAlgorithmPreset, algorithm)
    precision = preset if jax.default_backend() == "gpu" else "highest"
    side = row.shape["side"]
    a, b = (jnp.asarray(weights.normal(side, side, seed=s), row.dtype) for s in (1, 2))
    compiled = jax.jit(lambda a, b: jnp.matmul(a, b, precision=precision))
    return _queued(compiled, a, b)


def _elementwise(row: Row) -> Job:
    """Return a chain that no compiler can shorten, because its constants are arguments."""
    import jax
    import jax.numpy as jnp

    x = jnp.linspace(-1, 1, row.shape["elements"], dtype=row.dtype)
    constants = jnp.asarray(weights.normal(CHAIN, seed=3) / 8, row.dtype)

    def chain(x, constants):
        for i in range(CHAIN):
            if row.shape["operation"] == "exp2":
                x = jnp.exp2(-x)
            else:
                x = (jnp.maximum, jnp.minimum)[i % 2](x, constants[i])
        return x

    compiled = jax.jit(chain)
    return _queued(compiled, x, constants)


def _queued(compiled: Callable, *arguments) -> Job:
    def run():
        for _ in range(REPEATS):
            out = compiled(*arguments)
        return out.block_until_ready()

    return Job(run, program=lambda: Program(compiled, arguments))


def _dispatch(row: Row) -> Job:
    """Return a scalar program that is called many times: one call after another, or
    each waited for."""
    import jax
    import jax.numpy as jnp

    compiled = jax.jit(lambda x: x + 1)
    wait = row.shape["dispatch"] == "waited for"

    def run():
        x = jnp.zeros(())
        for _ in range(DISPATCHES):
            x = compiled(x)
            if wait:
                x.block_until_ready()
        return x.block_until_ready()

    return Job(run, program=lambda: Program(compiled, (jnp.zeros(()),)))
