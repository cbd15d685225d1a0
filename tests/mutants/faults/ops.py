"""Planted faults of jaxcert/ops/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/ops"

SPECTRAL = "tests/ops/test_spectral.py"
HEADS = "tests/nn/test_heads_and_activations.py"
_NORMS = f"{SPECTRAL}::test_no_kernel_has_a_norm_above_its_bounds"

FAULTS = [
    (
        "margins: sum of logits for their difference",
        "margins.py",
        "y[:, None], 1) - logits",
        "y[:, None], 1) + logits",
        f"{HEADS}::test_radius_ignores_the_diagonal_and_its_gradient",
    ),
    (
        "margins: farthest class for the nearest",
        "margins.py",
        "return jnp.min(\n        jnp.where(own, jnp.inf,",
        "return jnp.max(\n        jnp.where(own, -jnp.inf,",
        f"{HEADS}::test_radius_ignores_the_diagonal_and_its_gradient",
    ),
    (
        "spectral: norm below its square root",
        "spectral.py",
        "return _scaled(scale, np.sqrt(proven))",
        "return _scaled(scale, np.sqrt(0.9 * proven))",
        "tests/nn/test_lot.py::test_norm_bound_is_above_the_svd_and_tight",
    ),
    (
        "spectral: torus that wraps around",
        "spectral.py",
        "m = max(band.outputs + after, band.inputs + band.before)",
        "m = max(band.outputs, 1)",
        _NORMS,
    ),
    (
        "spectral: tight bound without the error",
        "spectral.py",
        "np.sqrt(t + error) * (1 + 4 * _U)",
        "np.sqrt(t * 0.9 + error) * (1 + 4 * _U)",
        _NORMS,
    ),
    (
        "spectral: nothing not finite is infinite",
        "spectral.py",
        'if not np.isfinite(kernel).all():\n        return float("inf")',
        'if not np.isfinite(kernel).all():\n        return float("1")',
        f"{SPECTRAL}::test_zero_and_infinite_kernels",
    ),
    (
        "spectral: taps beside the image count",
        "spectral.py",
        "meets = np.any((at >= 0) & (at < side)",
        "meets = np.any((at >= 0) | (at < side)",
        f"{SPECTRAL}::test_taps_that_see_zeros_alone_do_not_count",
    ),
]
