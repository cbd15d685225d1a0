"""Block reflector layers against the original."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Golden, close, golden_files
from refusals import names

from jaxcert.errors import InputError
from jaxcert.nn import bro
from jaxcert.nn.activations import maxmin


def turned(weight):
    """V [c, rank, k, k] of the original as our kernel, see nn/bro.py."""
    return jnp.asarray(weight.transpose(2, 3, 1, 0)[::-1, ::-1])


@pytest.mark.slow
@pytest.mark.golden("lipschitz_l2")
def test_convolution_equals_the_original(x64):
    for path in golden_files("lipschitz_l2", "later_layers*.npz"):
        g = Golden(path)
        cases = sorted({n[:-2] for n in g if re.match("bro.*_x$", n)})
        assert cases
        for case in cases:
            c_in, c_out, k, stride, _ = (int(n) for n in g[f"{case}_meta"])
            x = jnp.asarray(np.moveaxis(g[f"{case}_x"], 1, -1))
            weight = g[f"{case}_weight"]
            ratio = weight.shape[1] / weight.shape[0]
            layer = bro.Conv(c_out, kernel_size=k, stride=stride, ratio=ratio)
            params = {
                "kernel": turned(weight),
                "bias": jnp.asarray(g[f"{case}_bias"]),
            }
            y, vjp = jax.vjp(lambda p, x, m=layer: m.apply({"params": p}, x), params, x)
            grads, gx = vjp(jnp.asarray(np.moveaxis(g[f"{case}_gy"], 1, -1)))
            close(y, np.moveaxis(g[f"{case}_y"], 1, -1))
            close(gx, np.moveaxis(g[f"{case}_gx"], 1, -1))
            close(grads["kernel"], turned(g[f"{case}_g_weight"]))
            close(grads["bias"], g[f"{case}_g_bias"])
        assert not {n for n in g.unread() if n.startswith("bro")}


def test_rank_is_a_share_of_square_layers_and_the_fewer_channels_of_others():
    assert [bro.rank_of(32, 32, r) for r in (0.125, 0.5, 1.0)] == [4, 16, 31]
    assert bro.rank_of(3, 32, 0.5) == 3 and bro.rank_of(64, 8, 0.5) == 8
    assert bro.rank_of(1, 1, 0.5) == 1
    for wrong in (0.0, -1.0, 2.0, float("nan")):
        with pytest.raises(InputError, match=names("model.ratio", wrong)):
            bro.rank_of(8, 8, wrong)


def test_reflected_blocks_keep_norms_and_are_centred(x64):
    """What zero padding and cropping leave of an orthogonal map of the torus."""
    blocks = bro.Blocks(2, (4, 6), maxmin)
    x = jax.random.normal(jax.random.key(0), (5, 4, 4, 6))
    variables = blocks.init(jax.random.key(1), x)
    y, after = blocks.apply(variables, x, True, mutable=["batch_stats"])
    assert np.abs(np.asarray(y).mean()) < 1e-12  # MaxMin keeps a mean of zero
    means = np.asarray(after["batch_stats"]["mean"])
    assert (np.abs(means) > 0).any()
    bounds = [bound() for bound in blocks.apply(variables, method="bounds")]
    assert len(bounds) == 2 and (np.array(bounds) <= 1 + 1e-9).all()
    assert (np.array(bounds) > 0.999).all()


def test_blocks_of_cpus_and_of_accelerators_agree(x64, monkeypatch):
    blocks = bro.Blocks(2, (3, 4), maxmin)
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
    variables = jax.jit(blocks.init)(jax.random.key(1), x)

    def found():
        @jax.jit
        @jax.value_and_grad
        def value(arrays):
            x, params = arrays
            own = {**variables, "params": params}
            y, _ = blocks.apply(own, x, True, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y * 1e2))

        return jax.tree.leaves(value((x, variables["params"])))

    ours = found()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for a, b in zip(ours, found(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8 * np.abs(a).max())


def test_layer_of_stride_two_refuses_odd_sides():
    with pytest.raises(InputError, match=names("stride 2", "5x5")):
        bro.Conv(4, stride=2).init(jax.random.key(0), jnp.zeros((1, 5, 5, 2)))
