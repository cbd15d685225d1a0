"""Keys of random numbers, and the settings of JAX that change what is drawn from them.

JAX takes its default generator, an offset of seeds and the order in which a generator
counts from the environment. What the library draws depends on none of them: keys are of
`IMPLEMENTATION`, made from the seed alone, and numbers are drawn inside `pinned`.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import numpy as np

from jaxcert.errors import InputError

IMPLEMENTATION = "threefry2x32"
GENERATOR = {"implementation": IMPLEMENTATION, "partitionable": True}
"""What headers say of the generator. Partitionable means that number i of a key is a
function of the key and i, so it does not depend on how many are drawn at once, or by
how many devices."""


OF_SAMPLES = {"keys": "split(fold_in(fold_in(key, index), sample)): noise, vote"}
"""What a header says of votes beside `GENERATOR`: of sample 0, 1, ... of image `index`."""
OF_LEVELS = {"keys": "fold_in(fold_in(fold_in(key, index), draw), level)"}
"""The same of the diffusion classifier, each draw of which has noise for every level."""


def of_stream(seed: int, stream: int) -> tuple[jax.Array, str]:
    """Return the key of a seed for a purpose, and how a header says that it was made."""
    made = jax.random.fold_in(key(seed), stream)
    return made, f"fold_in((0, seed mod 2^32), {stream})"


def with_key(header: dict[str, Any], said: str) -> dict[str, Any]:
    """Return a header that says how its key was made, where it has a generator."""
    known = header.get("generator")
    return header | ({"generator": known | {"key": said}} if known else {})


def key(seed: int) -> jax.Array:
    """Return the key that `jax.random.key` makes of a seed under JAX's own defaults:
    the low 32 bits of the seed are the words (0, seed)."""
    words = np.array([0, seed % 2**32], np.uint32)
    return jax.random.wrap_key_data(words, impl=IMPLEMENTATION)


def checked(key) -> jax.Array:
    """Return the key, if it is one of `IMPLEMENTATION`; an old one, two words of
    uint32, is taken as such.

    Raises InputError for a key of another generator, or for anything else.
    """
    kind, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    if kind == np.uint32 and shape == (2,):
        return jax.random.wrap_key_data(key, impl=IMPLEMENTATION)
    ours = kind is not None and jax.dtypes.issubdtype(kind, jax.dtypes.prng_key)
    if not ours or shape != () or str(jax.random.key_impl(key)) != IMPLEMENTATION:
        given = type(key).__name__ if kind is None else f"{kind}{list(shape)}"
        raise InputError(
            f"the key is {given}, and certificates draw from {IMPLEMENTATION}: make it with "
            "jaxcert.random_keys.key(seed)."
        )
    return key


_SETTINGS = {
    "jax_threefry_partitionable": True,
    "jax_numpy_rank_promotion": "allow",
    "jax_numpy_dtype_promotion": "standard",
    "jax_transfer_guard": "allow",
}
"""The settings of JAX under which the library's programs are written."""
_OF_CERTIFICATES = {
    "jax_debug_nans": False,  # an output that is not finite is an error of its image
    "jax_debug_infs": False,
    "jax_disable_jit": False,
}


def pin() -> None:
    """Fix these settings for the process; for commands that train or generate."""
    for name, value in _SETTINGS.items():
        jax.config.update(name, value)


@contextmanager
def pinned():
    """Inside, a certificate is what it is under JAX's defaults, whatever the environment
    says."""
    with ExitStack() as stack:
        for name, value in (_SETTINGS | _OF_CERTIFICATES).items():
            state = getattr(jax, name.removeprefix("jax_"))
            stack.enter_context(state(value))
        yield
