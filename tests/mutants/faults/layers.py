"""Planted faults of layers, networks and their bounds: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

KNOWN = "tests/nn/test_known_norms.py"
CONTRACT = "tests/contracts/test_layers.py"
SPECTRAL = "tests/ops/test_spectral.py"
SORTED = "tests/ops/test_sort_neuron.py"
LIPSCHITZ = "tests/certificates/test_lipschitz.py"
DIFFUSION = "tests/diffusion/test_diffusion_lipschitz.py"
_CONTRACTION = f"{CONTRACT}::test_layer_is_a_contraction_below_its_bound"
_ORTHOGONAL = f"{KNOWN}::test_cayley_transforms_have_orthogonal_rows_or_columns"
_COMPLEX = (
    f"{KNOWN}::test_bound_of_an_orthogonal_layer_is_the_norm_of_its_complex_kernel"
)
_REFLECTED = (
    f"{KNOWN}::test_bounds_of_reflected_blocks_are_the_norms_of_their_complex_kernels"
)
_PRODUCT = f"{KNOWN}::test_constant_of_a_network_is_the_product_of_all_its_layers"
_SLOPES = f"{KNOWN}::test_jacobian_of_a_network_reaches_its_constant"
_FOLDED = f"{KNOWN}::test_folded_normalisation_is_the_one_that_follows_the_convolution"
_DISTANCES = (
    f"{KNOWN}::test_bounds_of_distances_are_those_at_the_nearest_and_farthest_points"
)
_SLOPE = (
    "tests/models/test_constants.py::test_jacobian_of_lip_convnet_reaches_its_constant"
)
_RADIUS = f"{LIPSCHITZ}::test_radius_is_never_above_the_exact_value_of_its_evidence"
_SAMPLES = (
    f"{DIFFUSION}::test_samples_lie_within_their_bound_and_below_the_exact_margins"
)

FAULTS = [
    (
        "lot: bound of the real part alone",
        "nn/lot.py",
        "np.asarray(re) if im is None else re + 1j * im",
        "np.asarray(re) if im is None else re + 0j * im",
        _COMPLEX,
    ),
    (
        "lot: tall matrices of twice the length",
        "nn/lot.py",
        "linalg.matmul(f, z, how) if tall",
        "linalg.scale(linalg.matmul(f, z, how), 2) if tall",
        "tests/ops/test_polar.py::test_rows_and_columns_may_change_places[newton_schulz]",
    ),
    (
        "lot: images are not padded by half a kernel",
        "nn/lot.py",
        "[:, r : r + n, r : r + n]",
        "[:, :n, :n]",
        "tests/nn/test_lot.py::test_layers_equal_the_original_in_value_gradient_and_spectrum",
    ),
    (
        "cayley: once the lower part of a tall matrix",
        "ops/linalg.py",
        "product(-2.0 * r, inverse)",
        "product(-1.0 * r, inverse)",
        f"{_ORTHOGONAL}",
    ),
    (
        "cayley: transposed without conjugation",
        "ops/linalg.py",
        "u - _t(u).conj() +",
        "u - _t(u) +",
        _ORTHOGONAL,
    ),
    (
        "cayley: lower part is not in the transform",
        "ops/linalg.py",
        "product(_t(r).conj(), r)",
        "0 * product(_t(r).conj(), r)",
        _ORTHOGONAL,
    ),
    (
        "cayley: norm of one frequency",
        "nn/cayley.py",
        "* math.sqrt(side * (side // 2 + 1))",
        "* math.sqrt(1)",
        f"{KNOWN}::test_kernel_of_a_cayley_layer_is_scaled_by_alpha_over_its_norm[1]",
    ),
    (
        "cayley: kernel without its scale",
        "nn/cayley.py",
        "scale = alpha / _norm(f)",
        "scale = 0 * alpha / _norm(f) + 1",
        f"{KNOWN}::test_kernel_of_a_cayley_layer_is_scaled_by_alpha_over_its_norm[3]",
    ),
    (
        "bro: bounds of the real part alone",
        "nn/bro.py",
        "np.asarray(re) + 1j * np.asarray(im)",
        "np.asarray(re) + 0j * np.asarray(im)",
        _REFLECTED,
    ),
    (
        "bro: identity left out of a block",
        "nn/bro.py",
        "return branch.at[:, 1, 1].add(eye)",
        "return branch.at[:, 1, 1].add(0.01 * eye)",
        f"{KNOWN}::test_kernels_of_reflected_blocks_reflect_identity_plus_branch",
    ),
    (
        "bro: imaginary part of the other sign",
        "ops/linalg.py",
        "else -2 * projection.im",
        "else 2 * projection.im",
        "tests/ops/test_orthogonal_matrices.py::test_block_reflector_is_a_contraction_and_nearly_orthogonal[True]",
    ),
    (
        "bro: inverse of half a Gram matrix",
        "ops/linalg.py",
        "a = Pair(a.re + e * jnp.eye",
        "a = Pair(0.5 * a.re + e * jnp.eye",
        "tests/ops/test_orthogonal_matrices.py::test_block_reflector_is_a_contraction_and_nearly_orthogonal[False]",
    ),
    (
        "liresnet_pp: stem left out of the bound",
        "models/liresnet_pp.py",
        "layers = self.stem, self.blocks, self.neck, self.neck_dense, self.stack",
        "layers = self.blocks, self.neck, self.neck_dense, self.stack",
        _PRODUCT,
    ),
    (
        "liresnet_pp: stack left out of the bound",
        "models/liresnet_pp.py",
        "self.neck_dense, self.stack\n        return",
        "self.neck_dense\n        return",
        _PRODUCT,
    ),
    (
        "liresnet_pp: blocks left out of the bound",
        "models/liresnet_pp.py",
        "self.blocks, self.neck, self.neck_dense, self.stack\n        return",
        "self.neck, self.neck_dense, self.stack\n        return",
        f"{_PRODUCT}[bronet]",
    ),
    (
        "liresnet_pp: estimate without the blocks",
        "models/liresnet_pp.py",
        "self.neck_dense, self.blocks, self.stack\n        norms",
        "self.neck_dense, self.stack\n        norms",
        _PRODUCT,
    ),
    (
        "liresnet_pp: head left out of the estimate",
        "models/liresnet_pp.py",
        "math.prod(norms) * self.head.pairwise()",
        "math.prod(norms) * self.head.pairwise() ** 0",
        _PRODUCT,
    ),
    (
        "bronet: one block too many",
        "models/bronet.py",
        "bro.Blocks(depth, (",
        "bro.Blocks(depth + 1, (",
        f"{_PRODUCT}[bronet]",
    ),
    (
        "lip_convnet: bound without std is exceeded by a Jacobian",
        "models/lip_convnet.py",
        "pairwise=bound.pairwise / self.std,",
        "pairwise=bound.pairwise / 1.0,",
        _SLOPE,
    ),
    (
        "lip_convnet: bound without sqrt 2 is exceeded by a Jacobian",
        "models/lip_convnet.py",
        "self.num_classes), SQRT2)\n        bound",
        "self.num_classes), 1.0)\n        bound",
        _SLOPE,
    ),
    (
        "lip_convnet: bound of half a residual layer is exceeded by a Jacobian",
        "models/_parts.py",
        "(1 + math.prod(bound() for bound in bounds)) / 2",
        "math.prod(bound() for bound in bounds) / 2",
        _SLOPE,
    ),
    (
        "bronet: activation that expands",
        "models/bronet.py",
        "width), maxmin, ratio)",
        "width), lambda x: 2 * maxmin(x), ratio)",
        f"{_SLOPES}[bronet]",
    ),
    (
        "liresnet_pp: activation that expands",
        "models/liresnet_pp.py",
        "self.dense, maxmin)",
        "self.dense, lambda x: 2 * maxmin(x))",
        _SLOPES,
    ),
    (
        "batch norm: folded mean without its factor",
        "nn/batch_norm.py",
        "bias = bias - mean * factor",
        "bias = bias - mean",
        _FOLDED,
    ),
    (
        "batch norm: folded kernel without its factor",
        "nn/batch_norm.py",
        '"kernel") * factor\n',
        '"kernel") * factor**0\n',
        _FOLDED,
    ),
    (
        "batch norm: folded without epsilon",
        "nn/batch_norm.py",
        "jnp.sqrt(var.astype(scale.dtype) + self.eps)",
        "jnp.sqrt(var.astype(scale.dtype))",
        _FOLDED,
    ),
    (
        "batch norm: folded bias is not added",
        "nn/batch_norm.py",
        "stride=stride) + bias",
        "stride=stride) + 0 * bias",
        _FOLDED,
    ),
    (
        "batch norm: evaluation without epsilon",
        "nn/batch_norm.py",
        "lax.rsqrt(var + self.eps)",
        "lax.rsqrt(var + 0 * self.eps)",
        _FOLDED,
    ),
    (
        "norm_dist: bounds of the plain distance for a sort neuron",
        "nn/norm_dist.py",
        "rho=self.rho, num_terms=self.num_terms\n",
        "rho=0.0, num_terms=self.num_terms\n",
        f"{_DISTANCES}[0.4]",
    ),
    (
        "norm_dist: bounds at the upper end alone",
        "nn/norm_dist.py",
        "return norm_dist_bounds(lower, upper, w)",
        "return norm_dist_bounds(upper, upper, w)",
        f"{_DISTANCES}[0.0]",
    ),
    (
        "norm_dist: evaluation of a sort neuron as a distance",
        "nn/norm_dist.py",
        "if self.rho and p is None and kept is None:",
        "if self.rho > 1 and p is None and kept is None:",
        f"{_DISTANCES}[0.4]",
    ),
    (
        "norm_dist: mean of the batch in evaluation",
        "nn/norm_dist.py",
        "return y - mean\n",
        "return y - y.mean(0) + 0 * mean\n",
        f"{KNOWN}::test_a_mean_shift_takes_off_its_running_mean_whatever_the_batch",
    ),
    (
        "norm_dist: nearest point where the weight is inside",
        "ops/norm_dist/xla.py",
        "jnp.maximum(jnp.maximum(low - at, at - high), 0)",
        "jnp.maximum(low - at, at - high)",
        f"{_DISTANCES}[0.4]",
    ),
    (
        "norm_dist: farthest point on one side",
        "ops/norm_dist/xla.py",
        "jnp.maximum(at - low, high - at)",
        "jnp.maximum(at - low, low - at)",
        f"{_DISTANCES}[0.0]",
    ),
    (
        "norm_dist: NaN is passed over",
        "ops/norm_dist/xla.py",
        "return y + (0 * x).sum(0)[..., None] + (0 * w).sum(0)",
        "return y",
        "tests/ops/test_norm_dist.py::test_what_is_not_finite_is_never_passed_over",
    ),
    (
        "sort neuron: coefficients that sum to more than one",
        "ops/sort_neuron.py",
        "(c / c.sum())[c > 0]",
        "(c / c.max())[c > 0]",
        f"{SORTED}::test_points_of_the_box_stay_inside_its_bounds",
    ),
    (
        "sort neuron: near ends for far ones",
        "ops/sort_neuron.py",
        "_insert(carry[0], near), _insert(carry[1], far)",
        "_insert(carry[0], near), _insert(carry[1], near)",
        f"{SORTED}::test_points_of_the_box_stay_inside_its_bounds",
    ),
    (
        "sort neuron: bounds pass over NaN",
        "ops/sort_neuron.py",
        "return low + poison, high + poison",
        "return low, high",
        f"{SORTED}::test_nan_is_never_passed_over",
    ),
    (
        "sort neuron: smallest distances first",
        "ops/sort_neuron.py",
        "        larger = d > value\n        after.append(jnp.where(larger, d, value))",
        "        larger = d < value\n        after.append(jnp.where(larger, d, value))",
        f"{SORTED}::test_without_drops_it_is_the_distance",
    ),
    (
        "cpl: bound of the estimate of another kernel",
        "nn/cpl.py",
        "sll.residual_bound(kernel, t, int(side), tight)",
        "sll.residual_bound(0 * kernel, t, int(side), tight)",
        f"{KNOWN}::test_bound_of_a_residual_layer_is_that_of_the_step_it_takes",
    ),
    (
        "cpl: norm without padding",
        "nn/cpl.py",
        "liresnet.conv(v, kernel, padding=k // 2)",
        "liresnet.conv(v, kernel, padding=0)",
        f"{_CONTRACTION}[cpl-stride 1]",
    ),
    (
        "adapter: kernels of other parameters stay",
        "nn/adapter.py",
        'if k != "prepared"}',
        'if k != "none"}',
        f"{KNOWN}::test_kernels_are_prepared_anew_for_other_parameters",
    ),
    (
        "spectral: factorisation that does not exist proves",
        "ops/spectral.py",
        'if not np.isfinite(square):\n                return float("inf")',
        'if not np.isfinite(square):\n                return float("0")',
        f"{SPECTRAL}::test_factorisation_refuses_what_is_below_the_norm",
    ),
    (
        "margins: slack of one logit",
        "ops/margins.py",
        "np.nextafter(logits + 2 * slack, np.inf)",
        "np.nextafter(logits + 1 * slack, np.inf)",
        _RADIUS,
    ),
    (
        "margins: other logits are rounded down",
        "ops/margins.py",
        "np.nextafter(logits + 2 * slack, np.inf)",
        "np.nextafter(logits + 2 * slack, -np.inf)",
        _RADIUS,
    ),
    (
        "margins: radius is rounded up",
        "ops/margins.py",
        "np.nextafter(margin / pairwise[y], -np.inf)",
        "np.nextafter(margin / pairwise[y], np.inf)",
        _RADIUS,
    ),
    (
        "margins: largest ratio for the smallest",
        "ops/margins.py",
        "ratio[rows, y] = np.inf\n    return np.maximum(ratio.min(1), 0.0)",
        "ratio[rows, y] = 0\n    return np.maximum(ratio.max(1), 0.0)",
        _RADIUS,
    ),
    (
        "dc: denoised images are not clipped",
        "diffusion/lipschitz.py",
        "jnp.clip(h, 0, 1), jnp.nan",
        "jnp.clip(h, -9, 9), jnp.nan",
        f"{DIFFUSION}::test_float32_errors_stay_within_the_rounding",
    ),
    (
        "dc: rounding counts for the margin",
        "diffusion/lipschitz.py",
        "others - mine - slack",
        "others - mine + slack",
        _SAMPLES,
    ),
    (
        "dc: errors are not capped",
        "diffusion/lipschitz.py",
        "np.minimum(u, c[:, None], dtype=np.float64)",
        "np.minimum(u, 1.0, dtype=np.float64)",
        _SAMPLES,
    ),
    (
        "dc: largest margin for the smallest",
        "diffusion/lipschitz.py",
        "np.asarray(lower, np.float64).min(-1)",
        "np.asarray(lower, np.float64).max(-1)",
        f"{DIFFUSION}::test_radius_is_rounded_down_and_zero_without_a_margin",
    ),
    (
        "dc: radius is rounded up",
        "diffusion/lipschitz.py",
        "np.nextafter(np.maximum(least, 0) / lipschitz, 0)",
        "np.nextafter(np.maximum(least, 0) / lipschitz, 9)",
        f"{LIPSCHITZ}::test_radius_of_diffusion_classifiers_is_never_above_the_exact_value",
    ),
]
