"""CERTIFY of one image: noise, forward passes, counting, bound and radius."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import floors, weights
from benchmarks.suite import Job, Row, first_call


def rows(device: str, tiny: bool) -> list[Row]:
    if tiny:
        wide = _imagenet_row(20, stages=(2,), side=16, dtype="float32")
        return [row_of(8, 8, 20, "float32"), wide, _noise_row(8, 20)]
    if device == "cpu":
        large, small = (row_of(depth, 32, 100, "float32") for depth in (110, 20))
        return [large, small, _noise_row(32, 100)]
    low, exact = (row_of(110, 32, 100_000, d) for d in ("bfloat16", "float32"))
    compiled = low._replace(
        workload=low.workload + ", torch.compile",
        shape={**low.shape, "strong": "torch.compile"},
        sides=("jaxcert", "strong"),
        warm=("jaxcert", "strong"),
    )
    wide = _imagenet_row(10_000, stages=(3, 4, 6, 3), side=224, dtype="bfloat16")
    return [low, wide, compiled, exact, _noise_row(32, 100_000)]


def image_of(shape: dict[str, Any]) -> np.ndarray:
    """Return the image, float32 [1,H,W,3]."""
    return weights.images(1, shape["side"])


def jaxcert(row: Row, device: str) -> Job:
    import jax

    from jaxcert.certificates import voting

    image, index = image_of(row.shape), iter(range(1 << 30))
    certifier, logits = _classifier(row)
    key = jax.random.key(0)

    def certify():
        one = np.array([next(index)])  # another image number, other noise
        return certifier.certify(key, image, np.zeros(1, np.int32), one)

    def output(reference):
        noise = weights.normal(32, *image.shape[1:], seed=7)
        noisy = image + np.float32(row.shape["sigma"]) * noise
        share = certify().counts[0] / row.shape["n"]
        return dict(input_noisy=noisy, logits=np.asarray(logits(noisy)), share=share)

    def program():
        # both the votes that select and those that count are calls of it
        call = first_call(voting, "_count", certify)
        chunk, n0, n = call.static["chunk"], row.shape["n0"], row.shape["n"]
        return call._replace(loops=-(-n0 // chunk) - (-n // chunk))

    return Job(certify, output if logits else None, program)


def row_of(depth: int, side: int, n: int, dtype: str) -> Row:
    flops, n_bytes = floors.certify(
        depth, n + 100, itemsize=2 if dtype == "bfloat16" else 4, side=side
    )
    # the votes are other draws: their share differs by a few standard deviations
    share = min(1.0, 10 * (0.25 / n) ** 0.5)
    return Row(
        f"CERTIFY ResNet-{depth}",
        dict(depth=depth, side=side, n0=100, n=n, sigma=0.25),
        dtype,
        tolerance=dict(logits=0.1 if dtype == "bfloat16" else 1e-4, share=share),
        flops=flops,
        bytes=n_bytes,
        rate="bfloat16" if dtype == "bfloat16" else "tf32",
        items=n + 100,
    )


def _imagenet_row(n: int, *, stages: tuple[int, ...], side: int, dtype: str) -> Row:
    """Return the row of ResNet-50. The strong peer is compiled, because channels last
    alone is a third slower."""
    shape = dict(
        stages=stages, side=side, n0=100, n=n, sigma=0.25, strong="torch.compile"
    )
    row = row_of(20, 32, n, dtype)
    low = dtype == "bfloat16"
    flops, n_bytes = floors.certify_imagenet(stages, n + 100, itemsize=2 if low else 4)
    return row._replace(
        workload="CERTIFY ResNet-50, torch.compile",
        shape=shape,
        flops=flops,
        bytes=n_bytes,
        warm=("jaxcert", "strong"),
    )


def _noise_row(side: int, n: int) -> Row:
    shape = dict(side=side, n0=100, n=n, sigma=0.25)
    return Row(
        "noise and counting alone", shape, "float32", items=n + 100, sides=("jaxcert",)
    )


def _classifier(row: Row):
    """Return (certifier, logits or None)."""
    if "depth" not in row.shape and "stages" not in row.shape:
        return _noise_only(row), None
    return _network(row)


def _network(row: Row):
    import jax

    from jaxcert.certificates import smoothing
    from jaxcert.interfaces import Network
    from jaxcert.models import resnet, resnet50

    given = dict(image_shape=(row.shape["side"], row.shape["side"], 3), dtype=row.dtype)
    if "depth" in row.shape:
        depth = row.shape["depth"]
        model = resnet.make(depth=depth, **given)
        tree = weights.resnet_tree(*weights.resnet(depth))
    else:
        stages = tuple(row.shape["stages"])
        channels = dict(mean=weights.MEAN, std=weights.STD)
        model = resnet50.make(stages, **channels, **given)
        tree = weights.resnet50_tree(*weights.resnet50(stages), stages)
    params, state = jax.device_put(tree)
    certifier = smoothing.make(Network(model, params, state), **_numbers(row))
    state = jax.jit(model.prepare)(params, state)  # as the certifier reads it
    return certifier, jax.jit(lambda x: model.apply(params, state, x)[0])


def _noise_only(row: Row):
    """Return the certifier of a classifier that costs nothing, the sign of the image's
    sum."""
    import jax.numpy as jnp

    from jaxcert.certificates import smoothing

    def vote(keys, image):
        return (image.sum((1, 2, 3)) > 0).astype(jnp.int32)

    return smoothing.certifier(vote, num_classes=10, **_numbers(row))


def _numbers(row: Row) -> dict[str, Any]:
    return {name: row.shape[name] for name in ("sigma", "n0", "n")}
