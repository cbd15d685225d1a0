"""What a run needs of memory and disk, to the byte."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from refusals import names

from jaxcert import config as configs
from jaxcert.data import sources
from jaxcert.errors import InputError
from jaxcert.interfaces import TrainState
from jaxcert.training import limits, loop

ROOT = Path(__file__).parents[2]


def shape(*size, dtype=np.float32):
    return jax.ShapeDtypeStruct(size, dtype)


STATE = TrainState(
    step=shape(dtype=np.int32),
    params={"w": shape(10, 10)},
    model_state={"mean": shape(5)},
    extra=(),
    opt_state={"trace": shape(10, 10)},
    ema=None,
)
"""4 + 400 + 20 + 400 bytes"""


def devices(memory, count=2):
    one = SimpleNamespace(
        memory_stats=lambda: {"bytes_limit": memory} if memory else None,
        process_index=0,
    )
    return [one] * count


def check(memory, **changes):
    image = shape(4, 4, 3, dtype=np.uint8)
    given = dict(batch=20, copies=1, image=image) | changes
    limits.check_memory(STATE, devices=devices(memory), **given)


def test_a_step_holds_state_gradient_and_its_part_of_the_batch():
    """On each of two devices ten images of 48 pixels, a byte and four bytes each."""
    assert limits.bytes_of(STATE) == 824
    check(824 + 400 + 10 * 48 * 5)
    with pytest.raises(InputError, match=names("data.batch", 20, "4 x 4 x 3")):
        check(824 + 400 + 10 * 48 * 5 - 1)
    check(824 + 400 + 10 * 48 * (1 + 4 * 3), copies=3)
    with pytest.raises(InputError, match=names("data.batch", 20, "3 noisy copies")):
        check(824 + 400 + 10 * 48 * (1 + 4 * 3) - 1, copies=3)
    with pytest.raises(InputError, match=names("network", "1.22 kB", "config.model")):
        check(824 + 400 - 1)


def test_devices_of_the_processor_share_its_memory(monkeypatch):
    needed = 824 + 400 + 10 * 48 * 5
    monkeypatch.setattr(limits, "host_memory", lambda: 2 * needed)
    check(None)
    monkeypatch.setattr(limits, "host_memory", lambda: 2 * needed - 2)
    with pytest.raises(InputError, match=names("data.batch", 20)):
        check(None)


def test_a_checkpoint_holds_the_state_and_the_network_to_evaluate():
    assert limits.checkpoint_bytes(STATE) == 824 + 420


def test_disk_that_is_too_small_is_refused(tmp_path, monkeypatch):
    usage = SimpleNamespace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    limits.check_disk(tmp_path, 1000)
    with pytest.raises(InputError, match=names("1 kB", "1 kB")):
        limits.check_disk(tmp_path, 1001)


def test_padding_that_memory_cannot_hold_is_refused(monkeypatch):
    """1,000 grey images of 20 x 20."""
    monkeypatch.setattr(sources, "host_memory", lambda: 400_000)
    assert sources.open("digits", "train", pad=20).image.shape == (1000, 20, 20, 1)
    for pad in (21, 10**9):
        with pytest.raises(InputError, match=names("config.data.pad", pad)):
            sources.open("digits", "train", pad=pad)


def test_head_that_no_memory_holds_is_refused_before_it_is_made(tmp_path):
    """A matrix of 10 TB: nothing of it is allocated, nothing written."""

    config = configs.tiny(configs.load(str(ROOT / "configs/smoothing/digits.py")))
    config.data.name = f"npy:{tmp_path}"
    config.model.num_classes = 2**32
    for split in ("train", "test"):
        np.save(tmp_path / f"{split}_image.npy", np.full((40, 8, 8, 1), 9, np.uint8))
        np.save(tmp_path / f"{split}_label.npy", np.arange(40) % 10)
    config.data.batch = 8
    with pytest.raises(InputError, match=names("network", "464 GB", "config.model")):
        loop.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
