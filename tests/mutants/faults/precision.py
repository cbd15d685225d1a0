"""Planted faults of precision: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_PRECISION = "tests/models/test_precision.py"
_SHORT = f"{_PRECISION}::test_only_what_meets_images_is_short"
_KERNELS = f"{_PRECISION}::test_kernels_are_made_of_exact_products"
_THREE = f"{_PRECISION}::test_steps_take_three_products_where_a_config_asks_for_them"
_FORMS = "tests/ops/test_polar.py::test_forms_of_cpus_and_of_accelerators_agree"
_REFLECTOR = "tests/ops/test_orthogonal_matrices.py::test_gradient_of_a_block_reflector_is_that_of_its_formula[True]"

FAULTS = [
    (
        "precision: power iteration in the default of the process",
        "ops/linalg.py",
        'jax.default_matmul_precision("highest")(f)',
        "f",
        f"{_SHORT}[liresnet]",
    ),
    (
        "precision: row sums in the default of the process",
        "nn/aol.py",
        "padding=k - 1, precision=linalg.EXACT)",
        "padding=k - 1)",
        f"{_KERNELS}[aol]",
    ),
    (
        "precision: products of orthogonalisation in the default of the process",
        "ops/linalg.py",
        "def product(a: Array, b: Array, precision: PrecisionLike = EXACT)",
        "def product(a: Array, b: Array, precision=None)",
        f"{_KERNELS}[cholesky]",
    ),
    (
        "precision: three products for float64 as well",
        "ops/linalg.py",
        "if fast and dtype == jnp.float32 else",
        "if fast else",
        f"{_THREE}[minimax]",
    ),
    (
        "precision: products over frequencies are exact",
        "nn/lot.py",
        "Pair(f.real, f.imag), q, None)",
        "Pair(f.real, f.imag), q)",
        f"{_SHORT}[lot]",
    ),
    (
        "newton_schulz: P H P counts twice in the gradient",
        "ops/linalg.py",
        "6 * x + ppx + xp - gz",
        "6 * x + ppx + 2 * xp - gz",
        f"{_FORMS}[newton_schulz]",
    ),
    (
        "block_reflector: gradient as if the jitter were constant",
        "ops/linalg.py",
        "mean = jitter * jnp.trace(k.re",
        "mean = 0.0 * jnp.trace(k.re",
        _REFLECTOR,
    ),
]
