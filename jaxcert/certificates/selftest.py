"""Tests in seconds whether this machine computes what certificates rely on.

Each test returns in words what holds, or raises InputError.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxcert import random_keys
from jaxcert.certificate import Certificates
from jaxcert.certificates import (
    _arithmetic,
    noise,
    norms,
    procedures,
    rechecking,
    smoothing,
)
from jaxcert.errors import InputError

BITS = (285167447, 3080411661)
"""The first two random numbers of 32 bits of sample 5 of image 3 for seed 7."""
AGREEING = 685
"""How many of 1,000 votes are for the side of a half-space on which the image lies, half a sigma
from its edge. About 1,000 Phi(1/2) are expected."""
_ROUNDED = 2
"""By so many votes a device may differ whose logarithms are rounded in another way."""


def arithmetic() -> str:
    """Test NaN, rounding, the order of sums and float64 products of compiled programs."""
    _arithmetic.check()
    return "NaN, the order of sums, rounding and float64 products are as proofs assume"


@random_keys.pinned()
def generator() -> str:
    """Test that noise is made of the numbers that records say."""
    key = jax.random.fold_in(jax.random.fold_in(random_keys.key(7), 3), 5)
    found = tuple(jax.jit(lambda k: jax.random.bits(k, (2,), jnp.uint32))(key).tolist())
    if found != BITS:
        raise InputError(
            f"{random_keys.IMPLEMENTATION} draws {found} where it should draw {BITS}: install "
            "a version of jax that jaxcert supports."
        )
    ends = noise.least_tail("gaussian")
    if ends != norms.LEAST_TAIL:
        raise InputError(
            f"normal numbers end where a tail of {ends:.3g} is left, and not beyond "
            f"{norms.LEAST_TAIL:g}: take noise=grid, or another version of jax."
        )
    return f"{random_keys.IMPLEMENTATION} draws the numbers that records state"


def votes() -> str:
    """Test votes and radius of a half-space, whose true radius is known, on all devices of this
    process."""
    devices = jax.local_devices()
    rows = _half_space(None)
    agreeing, radius = _agreeing(rows), float(rows.radius[0])
    _, holds = procedures.recheck(rows, np.arange(1))
    if abs(agreeing - AGREEING) > _ROUNDED or not 0 < radius <= 0.25 or not holds.all():
        raise InputError(
            f"a half-space at a distance of 0.25 has {agreeing} votes of 1,000 and the radius "
            f"{radius:g} where about {AGREEING} are right: do not trust certificates of this "
            "machine."
        )
    if len(devices) > 1:
        mesh = Mesh(np.array(devices), ("data",))
        shared = _agreeing(_half_space(mesh))
        if shared != agreeing:
            raise InputError(
                f"{len(devices)} devices together count {shared} votes and one counts "
                f"{agreeing}: use one device."
            )
    return (
        f"{agreeing} of 1,000 votes, radius {radius:.3f} of 0.25, on {len(devices)} device"
        f"{'s' * (len(devices) > 1)}"
    )


def _half_space(mesh: Mesh | None) -> Certificates:
    """Return the certificate of a pixel 0.75 that is above 0.5."""

    def vote(keys, image):
        return (image[:, 0, 0, 0] > 0.5).astype(jnp.int32)

    certifier = smoothing.certifier(vote, num_classes=2, sigma=0.5, n=1000, mesh=mesh)
    image = np.full((1, 1, 1, 1), 0.75, np.float32)
    one = np.zeros(1, np.int32)
    return certifier.certify(random_keys.key(0), image, one, one)


def _agreeing(rows: Certificates) -> int:
    return int(rechecking.column(rows, "counts")[0, 1])


TESTS = {"exactness": arithmetic, "noise": generator, "votes": votes}
