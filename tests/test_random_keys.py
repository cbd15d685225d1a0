"""Keys are what JAX makes of a seed by default, whatever JAX is set to."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from refusals import names

from jaxcert import random_keys, sharding
from jaxcert.errors import InputError
from jaxcert.models import small_cnn
from jaxcert.torch_import import network as imported

ROOT = Path(random_keys.__file__).parent
DEFAULT = {"partitionable": True, "implementation": "threefry2x32"}


@pytest.mark.parametrize("seed", [0, 1, 123456, 2**31 - 1, 2**32 - 1, -1])
def test_keys_are_those_of_jax_by_default(seed):
    expected = jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
    with jax.default_prng_impl("rbg"), jax.enable_x64(True):
        key = random_keys.key(seed)
        np.testing.assert_array_equal(jax.random.key_data(key), expected)
    assert random_keys.checked(key) is key
    assert random_keys.GENERATOR == DEFAULT


def test_an_offset_of_all_seeds_changes_no_key():
    before = jax.config.jax_random_seed_offset
    try:
        jax.config.update("jax_random_seed_offset", 7)
        words = jax.random.key_data(random_keys.key(3))
    finally:
        jax.config.update("jax_random_seed_offset", before)
    np.testing.assert_array_equal(words, [0, 3])


def test_an_old_key_is_its_words():
    key = random_keys.checked(jax.random.PRNGKey(3, impl="threefry2x32"))
    assert jax.random.bits(key) == jax.random.bits(random_keys.key(3))


@pytest.mark.parametrize("wrong", ["rbg", "unsafe_rbg"])
def test_a_key_of_another_generator_is_refused(wrong):
    with pytest.raises(InputError, match=names("key", "threefry2x32")):
        random_keys.checked(jax.random.key(0, impl=wrong))


def test_numbers_do_not_depend_on_how_many_are_drawn():
    with jax.threefry_partitionable(False):
        loose = [jax.random.bits(random_keys.key(0), (n,)) for n in (4, 7)]
        with random_keys.pinned():
            fixed = [jax.random.bits(random_keys.key(0), (n,)) for n in (4, 7)]
    assert (loose[0] != loose[1][:4]).any()  # what the setting changes
    np.testing.assert_array_equal(fixed[0], fixed[1][:4])


def test_training_and_generation_fix_the_generator():
    """By `use_precision`, which is the first thing that they ask of JAX."""
    names = {"jax_threefry_partitionable": False, "jax_numpy_rank_promotion": "raise"}
    precision = jax.config.jax_default_matmul_precision
    before = {name: getattr(jax.config, name) for name in names}
    try:
        for name, value in names.items():
            jax.config.update(name, value)
        sharding.use_precision("highest")
        assert jax.config.jax_threefry_partitionable
        assert jax.config.jax_numpy_rank_promotion == "allow"
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        jax.config.update("jax_default_matmul_precision", precision)


def test_networks_are_imported_under_any_promotion():
    model = small_cnn.make(3, (8, 8, 1), width=4)
    arrays = jax.jit(model.init)(random_keys.key(0))
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        network = imported.as_network(model, *arrays)
    assert jax.tree.all(jax.tree.map(np.array_equal, network.params, arrays[0]))


def test_no_key_of_the_library_is_of_the_default_generator():
    makes = ("jax.random.key(", "PRNGKey(")
    for path in ROOT.rglob("*.py"):
        assert not any(word in path.read_text() for word in makes), path
