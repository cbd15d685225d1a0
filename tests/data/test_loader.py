from __future__ import annotations

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from refusals import names, tells

from jaxcert.data import loader, mixture
from jaxcert.data.sources import Source
from jaxcert.errors import InputError

RNG = np.random.default_rng(0)


def _source(size, *, num_classes=4, dtype=np.uint8, side=3):
    image = RNG.integers(0, 2, (size, side, side, 1)).astype(dtype)
    image[:, 0, 0, 0] = np.arange(size) % 200  # tells which image it is
    label = RNG.integers(0, num_classes, size).astype(np.int32)
    return Source(image, label, num_classes, f"set of {size}")


REAL, GENERATED = _source(37), _source(53)
MIXTURE = mixture.make(37, 53, batch=8, share=0.5, seed=2)


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh(
        (1,),
        ("data",),
        axis_types=(jax.sharding.AxisType.Auto,),
        devices=jax.devices()[:1],
    )


def _numpy(batches):
    return [{k: np.asarray(v) for k, v in batch.items()} for batch in batches]


def _equal(a, b):
    for x, y in zip(a, b, strict=True):
        for name in ("image", "label", "real", "index"):
            assert x[name].dtype == y[name].dtype, name
            np.testing.assert_array_equal(x[name], y[name], err_msg=name)


def test_host_and_device_give_the_planned_batches(mesh):
    host, device = (
        _numpy(
            loader.batches(
                REAL, GENERATED, MIXTURE, 0, mesh=mesh, total=12, placement=placement
            )
        )
        for placement in ("host", "device")
    )
    _equal(host, device)
    assert len(host) == 12
    for step, batch in enumerate(host):
        source, index = mixture.plan(MIXTURE, step)
        for i in range(8):
            origin = GENERATED if source[i] else REAL
            np.testing.assert_array_equal(batch["image"][i], origin.image[index[i]])
            assert batch["label"][i] == origin.label[index[i]]
        np.testing.assert_array_equal(batch["real"], source == 0)
        np.testing.assert_array_equal(batch["index"], np.where(source, -1, index))


@pytest.mark.parametrize("placement", ["host", "device"])
def test_a_loader_started_later_continues_exactly(mesh, placement):
    def run(start):
        return _numpy(
            loader.batches(
                REAL, None, plain, start, mesh=mesh, total=9, placement=placement
            )
        )

    plain = mixture.make(37, 0, batch=8)
    _equal(run(0)[4:], run(4))
    assert run(9) == []


def test_weights_reach_the_plan(mesh):
    weights = np.zeros(37, np.float32)
    weights[5] = 1.0
    run = loader.batches(
        REAL, GENERATED, MIXTURE, 0, mesh=mesh, total=1, weights=weights
    )
    assert set(np.asarray(next(run)["index"]).tolist()) == {-1, 5}


def test_processes_assemble_contiguous_parts_of_one_batch(monkeypatch):
    def planned(step):
        return mixture.plan(MIXTURE, step)

    whole = loader._assemble([REAL, GENERATED], planned, 3)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    parts = []
    for k in range(2):
        monkeypatch.setattr(jax, "process_index", lambda k=k: k)
        parts.append(loader._assemble([REAL, GENERATED], planned, 3))
    joined = {name: np.concatenate([p[name] for p in parts]) for name in whole}
    _equal([whole], [joined])


def test_sweep_yields_every_real_image_once_in_order(mesh):
    swept = _numpy(loader.sweep(REAL, 8, mesh=mesh))
    assert [len(b["index"]) for b in swept] == [8] * 5
    index = np.concatenate([b["index"] for b in swept])
    real = np.concatenate([b["real"] for b in swept])
    np.testing.assert_array_equal(index, [*range(37), -1, -1, -1])
    np.testing.assert_array_equal(real, index >= 0)
    image = np.concatenate([b["image"] for b in swept])
    np.testing.assert_array_equal(image[:37], REAL.image)
    np.testing.assert_array_equal(image[37:], REAL.image[:3])


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        (dict(placement="gpu"), names("data.placement", "gpu")),
        (dict(generated=_source(53, num_classes=9)), names("9 classes", 4)),
        (dict(generated=_source(53, side=4)), names("uint8 4x4x1", "uint8 3x3x1")),
        (
            dict(generated=_source(53, dtype=np.float32)),
            names("float32 3x3x1", "uint8 3x3x1"),
        ),
    ],
)
def test_bad_input_is_one_sentence(mesh, changes, fault):
    arguments = dict(generated=GENERATED, placement="host") | changes
    with pytest.raises(InputError, match=fault):
        loader.batches(
            REAL,
            arguments["generated"],
            MIXTURE,
            0,
            mesh=mesh,
            total=1,
            placement=arguments["placement"],
        )


_EIGHT_DEVICES = """
import jax, numpy as np
from functools import partial
from jaxcert.data import augment, loader, mixture, sources
from jaxcert.errors import InputError

def mesh(n):
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((n,), ("data",), axis_types=auto, devices=jax.devices()[:n])

real, other = (sources.open("digits", split) for split in ("train", "test"))
mixed = mixture.make(1000, 797, batch=16)
move = jax.jit(partial(augment.augment, crop=1, flip=True, cutout=3))
runs = []
for n in (1, 8):
    for placement in ("host", "device"):
        run = loader.batches(
            real, other, mixed, 60, mesh=mesh(n), total=64, placement=placement
        )
        run = list(run)
        assert all(len(x.sharding.device_set) == n for x in run[0].values())
        run.append(move(jax.random.key(0), run[0]))
        runs.append([jax.tree.map(np.asarray, batch) for batch in run])
for run in runs[1:]:
    jax.tree.map(np.testing.assert_array_equal, run, runs[0])
text = move.lower(jax.random.key(0), jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=jax.sharding.NamedSharding(
        mesh(8), jax.sharding.PartitionSpec("data"))), runs[0][0])).compile().as_text()
assert "all-" not in text and "collective" not in text, "augmentation left its device"
try:
    loader.batches(real, None, mixed._replace(batch=12), 0, mesh=mesh(8), total=1)
except InputError as error:
    print(error)
"""


def test_eight_devices_and_one_see_the_same_batches():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
    }
    done = subprocess.run(
        [sys.executable, "-c", _EIGHT_DEVICES],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert tells(done.stdout, "data.batch", 12, "8 devices")
