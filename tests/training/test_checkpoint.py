"""What a checkpoint holds, and that a byte that changed is noticed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import names

from jaxcert import sharding
from jaxcert.errors import InputError
from jaxcert.interfaces import Model, TrainState
from jaxcert.workdirs.checkpoint import Checkpoints, digest, load_network

WEIGHTS = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}
MODEL = Model(
    lambda key: (WEIGHTS, {"mean": jnp.zeros(2)}), None, None, 3, image_shape=(1, 1, 2)
)


def saved(path, ema):
    state = TrainState(jnp.int32(7), WEIGHTS, {"mean": jnp.zeros(2)}, (), (), ema)
    with Checkpoints(path) as checkpoints:
        checkpoints.save(state, {"mean": jnp.full(2, 5.0)})
    return state


def test_a_network_is_evaluated_with_its_averaged_weights(tmp_path):
    mesh = sharding.data_mesh()
    for name, ema in (
        ("plain", None),
        ("averaged", {k: -v for k, v in WEIGHTS.items()}),
    ):
        state = saved(tmp_path / name, ema)
        loaded = load_network(MODEL, tmp_path / name, mesh=mesh)
        assert loaded.step == 7
        jax.tree.map(
            np.testing.assert_array_equal, loaded.network.params, ema or WEIGHTS
        )
        assert loaded.network.state["mean"].tolist() == [5, 5]
        with Checkpoints(tmp_path / name) as checkpoints:
            again = checkpoints.restore(state, mesh)
        jax.tree.map(np.testing.assert_array_equal, again, state)


def test_another_value_of_one_number_is_another_network(tmp_path):
    """The digest of the file is not of the weights that its arrays now have."""
    saved(tmp_path, None)
    mesh = sharding.data_mesh()
    good = load_network(MODEL, tmp_path, mesh=mesh).digest
    other = {**WEIGHTS, "bias": jnp.array([1.0, 1.0, 1.0 + 2.0**-23])}
    with Checkpoints(tmp_path / "other") as checkpoints:
        checkpoints.save_evaluation(other, {"mean": jnp.full(2, 5.0)})
    assert load_network(MODEL, tmp_path / "other", mesh=mesh).digest != good
    # arrays of the second under the name of the first
    (tmp_path / "checkpoints/7/evaluation").rename(tmp_path / "old")
    (tmp_path / "other/checkpoints/0/evaluation").rename(
        tmp_path / "checkpoints/7/evaluation"
    )
    with pytest.raises(InputError, match=names("checkpoints/7", "digest")):
        load_network(MODEL, tmp_path, mesh=mesh)


def test_a_digest_tells_names_types_shapes_and_values_apart():
    base = {"a": np.arange(4, dtype=np.int32), "b": np.zeros(2, np.float32)}
    others = [
        base | {"a": np.arange(4, dtype=np.int32)[::-1]},
        base | {"a": np.arange(4, dtype=np.uint32)},
        base | {"a": np.arange(4, dtype=np.int32).reshape(2, 2)},
        base | {"b": np.array([0.0, -0.0], np.float32)},
        {"a": base["a"], "c": base["b"]},
    ]
    found = [digest(each) for each in (base, *others)]
    assert len(set(found)) == len(found)
    assert digest(dict(reversed(base.items()))) == found[0]
