"""The series for large p on what a trained SortNet really computes (minutes: by hand)."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcert import config as configs
from jaxcert.data import sources
from jaxcert.ops.norm_dist import norm_dist, xla
from jaxcert.training import loop

CONFIG = Path(__file__).parents[2] / "configs" / "sortnet" / "digits.py"
P = (16.0, 64.0, 128.0, 300.0, 998.0)


def pulled(x, w, p):
    y, pull = jax.vjp(lambda x, w: norm_dist(x, w, jnp.float32(p)), x, w)
    return np.asarray(y), np.asarray(pull(jnp.ones_like(y))[0])


def errors(x, w, p):
    """Largest relative error of y, and of gx against its largest entry, to float64."""
    signed = x[:, :, None].astype(np.float64) - w
    d = np.abs(signed)
    m = d.max(1)
    y = m * ((d / m[:, None]) ** p).sum(1) ** (1 / p)
    gx = (np.where(signed >= 0, 1, -1) * (d / y[:, None]) ** (p - 1)).sum(2)
    found_y, found_gx = pulled(x, w, p)
    return np.abs(found_y / y - 1).max(), np.abs(found_gx - gx).max() / np.abs(gx).max()


@pytest.mark.slow
def test_series_errs_no_more_than_logarithm_and_exponential(tmp_path, monkeypatch):
    config = configs.load(str(CONFIG))
    state = loop.train(config, tmp_path)
    image = sources.open("digits", "test").image[:100].astype(np.float32) / 255
    x = ((image - config.model.mean[0]) / config.model.std).reshape(100, -1)
    layers = sorted(name for name in state.params if name.startswith("dist_"))
    for layer in [*layers, "last"]:
        w = np.asarray(state.params[layer]["kernel"])
        series = [errors(x, w, p) for p in P]
        with monkeypatch.context() as patch:
            patch.setattr(xla, "_SERIES", (np.inf, np.inf))
            jax.clear_caches()
            exact = [errors(x, w, p) for p in P]
        jax.clear_caches()
        for p, (y, gx), (exact_y, exact_gx) in zip(P, series, exact, strict=True):
            assert y <= 1.5 * exact_y + 2.0**-24
            assert gx <= 2 * exact_gx + 2.0**-24 and gx < p * 2.0**-22, (layer, p)
        mean = state.model_state["mean_shift"].get(layer.replace("dist", "shift"))
        if mean is not None:
            x = np.asarray(norm_dist(x, w)) - np.asarray(mean["mean"])
