"""Planted faults of jaxcert/nn/: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/nn"

CONSTANTS = "tests/models/test_constants.py"
CONTRACT = "tests/contracts/test_layers.py"
HEADS = "tests/nn/test_heads_and_activations.py"
_HYBRID = f"{CONSTANTS}::test_constants_of_a_hybrid_head_are_sums_of_absolute_weights"
_INTERVAL = (
    f"{CONSTANTS}::test_bounds_of_a_hybrid_head_are_those_of_interval_arithmetic"
)
_AT_LABEL = (
    f"{CONSTANTS}::test_bound_of_the_label_itself_is_the_constant_0_when_compiled"
)
_ROWS = f"{CONSTANTS}::test_normalised_head_has_the_distances_of_unit_rows"
_CONTRACTION = f"{CONTRACT}::test_layer_is_a_contraction_below_its_bound"
_LAYERS = "tests/nn/test_norms_of_layers.py"
_SUMS = f"{_LAYERS}::test_row_sums_are_those_of_correlations_at_all_offsets"
_JACOBIAN = f"{_LAYERS}::test_bound_and_estimate_are_the_norm_of_the_jacobian"
_CHOLESKY = (
    f"{_LAYERS}::test_cholesky_layers_are_contractions_with_the_norm_of_the_jacobian"
)

FAULTS = [
    (
        "liresnet: identity left out of the norm of a block",
        "liresnet.py",
        "kernels = np.asarray(self.kernels(), np.float64)",
        "kernels = np.asarray(self.branches(), np.float64)",
        _JACOBIAN,
    ),
    (
        "liresnet: identity left out of the estimate",
        "liresnet.py",
        "apply, train, self.kernels())",
        "apply, train, self.branches())",
        _JACOBIAN,
    ),
    (
        "liresnet: padding 0 in the norm of a convolution",
        "liresnet.py",
        "padding=self.padding,\n            tight",
        "padding=0,\n            tight",
        _JACOBIAN,
    ),
    (
        "liresnet: padding 0 in the norm of a block",
        "liresnet.py",
        "how = dict(padding=1, tight=tight)",
        "how = dict(padding=0, tight=tight)",
        _JACOBIAN,
    ),
    (
        "cholesky: jitter of the norm's size",
        "../ops/linalg.py",
        "e = 1e-3 * jnp.trace(s,",
        "e = 1.0 * jnp.trace(s,",
        _CHOLESKY,
    ),
    (
        "cholesky: rows longer than one",
        "../ops/linalg.py",
        "q = _matrix_by_matrix(solve, r, x)\n",
        "q = 1.1 * _matrix_by_matrix(solve, r, x)\n",
        _CHOLESKY,
    ),
    (
        "cholesky: estimate is squared",
        "cholesky.py",
        "return jnp.sqrt(jnp.linalg.eigvalsh(gram).max(-1))",
        "return jnp.square(jnp.linalg.eigvalsh(gram).max(-1))",
        _CHOLESKY,
    ),
    (
        "hybrid head: sum becomes a max",
        "interval.py",
        "np.abs(first).sum(0)",
        "np.abs(first).max(0)",
        _HYBRID,
    ),
    (
        "hybrid head: weights without their scale",
        "interval.py",
        "np.float64) / math.sqrt(layer.inputs)",
        "np.float64) / layer.inputs",
        _HYBRID,
    ),
    (
        "hybrid head: estimate takes a mean",
        "interval.py",
        "jnp.abs(self.linear.weight(dtype)).sum(0)",
        "jnp.abs(self.linear.weight(dtype)).mean(0)",
        _HYBRID,
    ),
    (
        "hybrid head: spread is halved again",
        "interval.py",
        "spread = linalg.product((upper - lower) / 2",
        "spread = linalg.product((upper - lower) / 4",
        _INTERVAL,
    ),
    (
        "hybrid head: radius without absolute values",
        "interval.py",
        "jnp.abs(difference), radius)",
        "difference, radius)",
        _INTERVAL,
    ),
    (
        "hybrid head: a slope of the bound at the label itself",
        "interval.py",
        "jnp.where(own, 0.0, rows[None] - rows[label][:, None])",
        "jnp.where(own & False, 0.0, rows[None] - rows[label][:, None])",
        _AT_LABEL,
    ),
    (
        "hybrid head: bias of the label left out",
        "interval.py",
        "- bias[label][:, None]",
        "- 0 * bias[label][:, None]",
        _INTERVAL,
    ),
    (
        "lln: distances of rows that are not normalised",
        "heads.py",
        "rows = w / np.where(norm > 0, norm, np.nan)",
        "rows = w / np.where(norm > 0, 5.0, np.nan)",
        _ROWS,
    ),
    (
        "lln: half of the distance",
        "heads.py",
        "(1 + 1e-12) * distance +",
        "0.5 * distance +",
        _ROWS,
    ),
    (
        "lln: a zero row has a bound",
        "heads.py",
        "np.isfinite(rounding), rounding, np.inf)",
        "np.isfinite(rounding), rounding, 0.0)",
        f"{CONTRACT}::test_normalised_head_at_zero_has_a_finite_gradient_and_no_bound",
    ),
    (
        "maxmin: the maximum twice",
        "activations.py",
        "jnp.minimum(x, y)], -1)",
        "jnp.maximum(x, y)], -1)",
        f"{HEADS}::test_activations_never_expand_a_distance",
    ),
    (
        "householder 1: reflection of another angle",
        "activations.py",
        "x * jnp.sin(theta) - y * jnp.cos(theta), y)",
        "x * jnp.sin(theta) + y * jnp.cos(theta), y)",
        f"{HEADS}::test_activations_equal_the_original_in_value_and_gradient",
    ),
    (
        "householder 2: rotation becomes a shear",
        "activations.py",
        "return x * c + y * s, y * c - x * s",
        "return x * c + y * s, y * c + x * s",
        f"{HEADS}::test_activations_equal_the_original_in_value_and_gradient",
    ),
    (
        "aol: sum over other channels left out",
        "aol.py",
        "return sums.sum(1) if q is None",
        "return sums.max(1) if q is None",
        "tests/nn/test_aol.py::test_weighted_row_sums_dominate_the_gram_matrix_at_every_frequency",
    ),
    (
        "aol: offsets that are not reached",
        "aol.py",
        "padding=k - 1,",
        "padding=k // 2,",
        _SUMS,
    ),
    (
        "aol: kernel is divided by the root twice",
        "aol.py",
        "jax.lax.rsqrt(row_sums(kernel) + EPSILON)",
        "1 / (row_sums(kernel) + EPSILON)",
        "tests/nn/test_aol.py::test_rescaled_kernel_equals_the_original_in_value_and_gradient",
    ),
    (
        "sll: multiplier ignores q of the row",
        "aol.py",
        "linalg.product(sums, q) / q",
        "linalg.product(sums, q)",
        _SUMS,
    ),
    (
        "sll: 2 |W|^2 - 1 becomes |W|^2",
        "sll.py",
        "(2 * norm * norm - 1)",
        "(norm * norm)",
        "tests/nn/test_sll.py::test_bound_holds_and_is_tight_for_any_multiplier",
    ),
    (
        "sll: bound without the multiplier",
        "sll.py",
        "* np.sqrt(np.asarray(t, np.float64))",
        "* np.asarray(t, np.float64)",
        "tests/nn/test_sll.py::test_bound_holds_and_is_tight_for_any_multiplier",
    ),
    (
        "sll: bound without padding",
        "sll.py",
        "side, padding=len(kernel) // 2, tight=tight)",
        "side, padding=0, tight=tight)",
        "tests/nn/test_sll.py::test_bound_holds_and_is_tight_for_any_multiplier",
    ),
    (
        "sll: step of twice the length",
        "sll.py",
        "] - 2 * liresnet.conv(hidden",
        "] - 4 * liresnet.conv(hidden",
        "tests/nn/test_sll.py::test_bound_holds_and_is_tight_for_any_multiplier",
    ),
    (
        "cpl: step without the square",
        "cpl.py",
        "1 / (norm**2 + EPSILON)",
        "1 / (norm + EPSILON)",
        f"{_CONTRACTION}[cpl-stride 1]",
    ),
    (
        "soc: remainder left out of the bound",
        "soc.py",
        "return (1 + rest)",
        "return (1 + 0 * rest)",
        "tests/nn/test_soc.py::test_bound_proves_what_a_wrong_estimate_made",
    ),
    (
        "soc: kernel is not skew",
        "soc.py",
        "(kernel - transposed(kernel)) / 2",
        "(kernel + transposed(kernel)) / 2",
        "tests/nn/test_soc.py::test_kernel_and_output_equal_the_original",
    ),
    (
        "soc: sum with a wrong factorial",
        "soc.py",
        "len(kernel) // 2) / j, None",
        "len(kernel) // 2) / (j + 1), None",
        "tests/nn/test_soc.py::test_truncated_exponential_exceeds_one_by_at_most_the_remainder",
    ),
    (
        "lot: phase of another torus",
        "lot.py",
        "phase = 2 * np.pi / side * (u",
        "phase = np.pi / side * (u",
        "tests/nn/test_lot.py::test_layers_equal_the_original_in_value_gradient_and_spectrum",
    ),
    (
        "bro: reflection by half",
        "../ops/linalg.py",
        "dtype=v.re.dtype) - 2 * projection.re",
        "dtype=v.re.dtype) - 3 * projection.re",
        f"{_CONTRACTION}[bro-stride 1]",
    ),
]
