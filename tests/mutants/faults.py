"""Faults that the default test suite must notice, each with tests that fail for it.

A text occurs exactly once in its file; its replacement keeps shapes and types. The tests
are not marked slow, fail by comparing a value, and take seconds.
"""

# ruff: noqa: E501
from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    name: str
    file: str
    text: str
    replacement: str
    tests: tuple[str, ...]


CONSTANTS = "tests/models/test_constants.py"
CONTRACT = "tests/contracts/test_layers.py"
DISTANCE = "tests/models/test_dist_net.py"
SPECTRAL = "tests/ops/test_spectral.py"
STATISTICS = "tests/certificates/test_statistics.py"
SEQUENTIAL = "tests/certificates/test_sequential.py"
NORMS = "tests/certificates/test_norms.py"
DIFFUSION = "tests/diffusion/test_diffusion_lipschitz.py"
APGD, PGD = "tests/attacks/test_apgd.py", "tests/attacks/test_pgd.py"
HEADS = "tests/nn/test_heads_and_activations.py"

_210 = f"{CONSTANTS}::test_layers_of_norm_2_3_5_and_a_head_of_7_give_210"
_PRODUCT = f"{CONSTANTS}::test_lip_convnet_has_the_product_of_its_layers_over_the_std"
_HYBRID = f"{CONSTANTS}::test_constants_of_a_hybrid_head_are_sums_of_absolute_weights"
_INTERVAL = (
    f"{CONSTANTS}::test_bounds_of_a_hybrid_head_are_those_of_interval_arithmetic"
)
_ROWS = f"{CONSTANTS}::test_normalised_head_has_the_distances_of_unit_rows"
_CONTRACTION = f"{CONTRACT}::test_layer_is_a_contraction_below_its_bound"
_BOX = f"{DISTANCE}::test_interval_contains_every_image_of_the_box_and_never_says_less"
_CLOSED = f"{NORMS}::test_closed_forms"
_INVERSE = f"{NORMS}::test_needed_p_is_the_inverse_of_the_radius_on_the_safe_side"
_DIFFUSION_GOLDEN = f"{DIFFUSION}::test_constants_and_radii_are_the_originals"
_LINEAR = f"{APGD}::test_a_linear_classifier_breaks_at_its_margin_and_not_before"
_NORMS = f"{SPECTRAL}::test_no_kernel_has_a_norm_above_its_bounds"
_MEANS = f"{STATISTICS}::test_bounds_of_a_mean_are_the_published_ones_rounded_down"

_LAYERS = "tests/nn/test_norms_of_layers.py"
_SUMS = f"{_LAYERS}::test_row_sums_are_those_of_correlations_at_all_offsets"
_JACOBIAN = f"{_LAYERS}::test_bound_and_estimate_are_the_norm_of_the_jacobian"
_CHOLESKY = (
    f"{_LAYERS}::test_cholesky_layers_are_contractions_with_the_norm_of_the_jacobian"
)
_LIRESNET = f"{_LAYERS}::test_liresnet_with_layers_of_2_3_5_and_7"
_EXACT = "tests/certificates/test_exact_cases.py"
_SIDES = f"{_EXACT}::test_interval_holds_where_the_box_of_both_sides_does"

_MODELS = [
    (
        "liresnet: estimate without the stem",
        "liresnet.py",
        "math.prod(norms) * self.blocks",
        "math.prod(norms[1:]) * self.blocks",
        _LIRESNET,
    ),
    (
        "liresnet: blocks left out of the bound",
        "liresnet.py",
        "bounds += self.blocks.bounds(tight)",
        "bounds += bounds[:0]",
        _LIRESNET,
    ),
    (
        "liresnet: largest block for their product",
        "liresnet.py",
        "self.blocks.norm(train).prod()",
        "self.blocks.norm(train).sum() * 0",
        _LIRESNET,
    ),
    (
        "chain: first layer left out",
        "_parts.py",
        "math.prod(norms) * rounding * head",
        "math.prod(norms[1:]) * rounding * head",
        _210,
    ),
    (
        "chain: largest layer for the product",
        "_parts.py",
        "math.prod(norms) * rounding * head",
        "max(norms) * rounding * head",
        _210,
    ),
    (
        "chain: head left out of the growth",
        "_parts.py",
        " * max(float(head.max()), 1.0)",
        " * max(0.0, 1.0)",
        _210,
    ),
    (
        "chain: shrinking layers count in the growth",
        "_parts.py",
        "math.prod(max(norm, 1.0) for norm in norms)",
        "math.prod(min(norm, 9e9) for norm in norms)",
        _210,
    ),
    (
        "lip_convnet: (1 + L) / 2 becomes L / 2",
        "lip_convnet.py",
        "(1.0 + bound) / 2 if residual",
        "bound / 2 if residual",
        _PRODUCT,
    ),
    (
        "lip_convnet: residual layers count as plain",
        "lip_convnet.py",
        "return (1.0 + bound) / 2 if residual else bound",
        "return bound",
        _PRODUCT,
    ),
    (
        "lip_convnet: std left out of the bound",
        "lip_convnet.py",
        "Bound(bound.pairwise / self.std,",
        "Bound(bound.pairwise / 1.0,",
        _PRODUCT,
    ),
    (
        "lip_convnet: sqrt 2 left out of the bound",
        "lip_convnet.py",
        "SQRT2 * self.last.bound(tight)",
        "1.0 * self.last.bound(tight)",
        _PRODUCT,
    ),
    (
        "lip_convnet: head left out of the bound",
        "lip_convnet.py",
        "SQRT2 * self.last.bound(tight)",
        "SQRT2 * 1.0",
        _PRODUCT,
    ),
    (
        "lip_convnet: sqrt 2 left out of the estimate",
        "lip_convnet.py",
        "SQRT2 / self.std)",
        "1.0 / self.std)",
        _PRODUCT,
    ),
    (
        "lip_convnet: std multiplies the estimate",
        "lip_convnet.py",
        "SQRT2 / self.std)",
        "SQRT2 * self.std)",
        _PRODUCT,
    ),
    (
        "lip_convnet: residual sum is not halved",
        "lip_convnet.py",
        "x = (x + y) / 2 if",
        "x = (x + y) / 1 if",
        f"{CONSTANTS}::test_jacobian_of_lip_convnet_reaches_its_constant",
    ),
    (
        "lip_convnet: images are not divided by std",
        "lip_convnet.py",
        "x.dtype)) / self.std",
        "x.dtype)) / 0.4",
        f"{CONSTANTS}::test_jacobian_of_lip_convnet_reaches_its_constant",
    ),
    (
        "dist_net: bound without the factor 2",
        "dist_net.py",
        "self.num_classes), 2.0 * factor)",
        "self.num_classes), 1.0 * factor)",
        f"{CONSTANTS}::test_distance_nets_have_twice_the_scale_over_the_std",
    ),
    (
        "dist_net: std multiplies the bound",
        "dist_net.py",
        "self._scale(np.zeros(())))) / self.std",
        "self._scale(np.zeros(())))) * self.std",
        f"{CONSTANTS}::test_distance_nets_have_twice_the_scale_over_the_std",
    ),
    (
        "dist_net: near and far ends change places",
        "dist_net.py",
        "scale * -(far + bias), scale * -(near + bias)",
        "scale * -(near + bias), scale * -(near + bias)",
        _BOX,
    ),
    (
        "dist_net: lower end of the label is not taken",
        "dist_net.py",
        "take_along_axis(low, label[:, None], 1) - high",
        "take_along_axis(high, label[:, None], 1) - high",
        _BOX,
    ),
]
_NN = [
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
        "padding=self.padding, tight=tight)",
        "padding=0, tight=tight)",
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
        "spread = (upper - lower) / 2",
        "spread = (upper - lower) / 4",
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
        "hybrid head: bias of the label left out",
        "interval.py",
        "- (own @ bias)[:, None]",
        "- 0 * (own @ bias)[:, None]",
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
        "filters, padding=k - 1)",
        "filters, padding=k // 2)",
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
        "sums @ q / q",
        "sums @ q",
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
        _CONTRACTION,
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
        "dtype=v.re.dtype) - 2 * product.re",
        "dtype=v.re.dtype) - 3 * product.re",
        _CONTRACTION,
    ),
]
_OPS = [
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
        "meets = ((at >= 0) & (at < side)).any(0)",
        "meets = ((at >= 0) | (at < side)).any(0)",
        f"{SPECTRAL}::test_taps_that_see_zeros_alone_do_not_count",
    ),
]
_DIFFUSION = [
    (
        "dc: sqrt(2 / pi) of the margin",
        "lipschitz.py",
        "noisy = c * math.sqrt(2 / math.pi) /",
        "noisy = c * math.sqrt(1 / math.pi) /",
        _DIFFUSION_GOLDEN,
    ),
    (
        "dc: direct term without dimensions",
        "lipschitz.py",
        "np.minimum(2, 4 * np.sqrt(c)) / math.sqrt(dims)",
        "np.minimum(2, 4 * np.sqrt(c)) / dims",
        _DIFFUSION_GOLDEN,
    ),
    (
        "dc: sigma in the scale of [-1, 1]",
        "lipschitz.py",
        "s = np.asarray(sigma, np.float64) / 2",
        "s = np.asarray(sigma, np.float64) / 1",
        _DIFFUSION_GOLDEN,
    ),
    (
        "dc: constant of a logit takes half of the direct term",
        "lipschitz.py",
        "noisy + 2 * np.sqrt(c / dims)",
        "noisy + 1 * np.sqrt(c / dims)",
        _DIFFUSION_GOLDEN,
    ),
]
_ATTACKS = [
    (
        "pgd: projection without the ball",
        "pgd.py",
        "jnp.where(length > eps, shrunk, moved)",
        "jnp.where(length > 2 * eps, shrunk, moved)",
        _LINEAR,
    ),
    (
        "pgd: projection leaves the box",
        "pgd.py",
        "jnp.clip(jnp.clip(moved, image - eps, image + eps), 0, 1)",
        "jnp.clip(jnp.clip(moved, image - eps, image + eps), 0, 2)",
        f"{PGD}::test_stays_in_the_ball_and_in_valid_pixels_and_beats_a_linear_classifier",
    ),
    (
        "apgd: step down the loss",
        "apgd.py",
        "z = project(x + move, image, eps, norm)",
        "z = project(x - move, image, eps, norm)",
        _LINEAR,
    ),
    (
        "apgd: dlr of the label to itself",
        "apgd.py",
        "return (other - mine) /",
        "return (mine - other) /",
        f"{APGD}::test_dlr_is_positive_in_another_class_and_ignores_shift_and_scale",
    ),
]
_CERTIFICATES = [
    (
        "interval: box of one side",
        "interval.py",
        "jnp.nextafter(image + eps, jnp.inf)",
        "jnp.nextafter(image + 0 * eps, jnp.inf)",
        _SIDES,
    ),
    (
        "interval: eps of 0.9 r",
        "interval.py",
        "params, state, images, y, r)",
        "params, state, images, y, 0.9 * r)",
        _SIDES,
    ),
    (
        "interval: margins of 0 hold",
        "interval.py",
        "(least > 2 * slack) & finite",
        "(least >= 0) & finite",
        f"{_EXACT}::test_interval_grants_the_forward_pass_twice_its_slack",
    ),
    (
        "lipschitz: radius of the paper's estimate",
        "lipschitz.py",
        "proven_radius(logits[known], pairwise,",
        "proven_radius(logits[known], paper,",
        f"{_EXACT}::test_radius_stands_on_the_bound_and_radius_paper_on_the_estimate",
    ),
    (
        "two_stage: votes of the pilot count",
        "procedures.py",
        "draw(some, n0 + PILOT, size[some])",
        "draw(some, n0, size[some])",
        f"{_EXACT}::test_second_stage_counts_none_of_the_votes_of_the_first",
    ),
    (
        "clopper-pearson: two-sided level",
        "statistics.py",
        "special.betainccinv(n - k_used + 1, k_used, alpha)",
        "special.betainccinv(n - k_used + 1, k_used, 2 * alpha)",
        f"{STATISTICS}::test_clopper_pearson_is_the_originals",
    ),
    (
        "clopper-pearson: all agree at twice alpha",
        "statistics.py",
        "np.expm1(np.log(alpha) / n)",
        "np.expm1(np.log(2 * alpha) / n)",
        f"{STATISTICS}::test_clopper_pearson_is_the_originals",
    ),
    (
        "predict: one-sided test",
        "statistics.py",
        "np.minimum(2 * tail * (1 + slack), 1.0)",
        "np.minimum(1 * tail * (1 + slack), 1.0)",
        f"{STATISTICS}::test_predict_test_is_the_originals",
    ),
    (
        "hoeffding: 4 n for 2 n",
        "statistics.py",
        "-math.log(alpha) / (2 * n)",
        "-math.log(alpha) / (4 * n)",
        _MEANS,
    ),
    (
        "bernstein: 3 for 7",
        "statistics.py",
        "+ 7 * (high - low) * log",
        "+ 3 * (high - low) * log",
        _MEANS,
    ),
    (
        "bernstein: level alpha for alpha / 2",
        "statistics.py",
        "math.log(2) - math.log(alpha)",
        "0 - math.log(alpha)",
        _MEANS,
    ),
    (
        "sequential: spends alpha at every look",
        "sequential.py",
        "** power - spent - _NOTHING",
        "** power - 0 * spent - _NOTHING",
        f"{SEQUENTIAL}::test_level_of_the_group_sequential_test_is_exact",
    ),
    (
        "sequential: everything at the first look",
        "sequential.py",
        "alpha * (look / looks[-1]) ** power",
        "alpha * (look / looks[0]) ** power",
        f"{SEQUENTIAL}::test_level_of_the_group_sequential_test_is_exact",
    ),
    (
        "sequential: mixture without its prior",
        "sequential.py",
        " - special.betaln(0.5, 0.5)",
        " - 0 * special.betaln(0.5, 0.5)",
        f"{SEQUENTIAL}::test_all_procedures_are_the_golden_ones",
    ),
    (
        "sequential: confidence at level 1 / e",
        "sequential.py",
        "wanted = -np.log(alpha) + error",
        "wanted = 1 + error",
        f"{SEQUENTIAL}::test_all_procedures_are_the_golden_ones",
    ),
    (
        "norms: l_inf without sqrt d",
        "norms.py",
        'return math.sqrt(d) if norm == "linf" else 1.0',
        "return 1.0",
        _CLOSED,
    ),
    (
        "norms: uniform noise by twice",
        "norms.py",
        "lambda: 2 * b * (0.5 - t)",
        "lambda: 4 * b * (0.5 - t)",
        _CLOSED,
    ),
    (
        "norms: scale of laplace noise",
        "norms.py",
        '"laplace": math.sqrt(0.5)',
        '"laplace": math.sqrt(1.0)',
        _CLOSED,
    ),
    (
        "norms: needed p of laplace noise",
        "norms.py",
        "1 - 0.5 * np.exp(-r / b)",
        "1 - 0.5 * np.exp(-2 * r / b)",
        _INVERSE,
    ),
    (
        "procedures: union without its correction",
        "procedures.py",
        "level = alpha / len(looks)",
        "level = alpha",
        f"{SEQUENTIAL}::test_all_procedures_are_the_golden_ones",
    ),
]


_PROGRAMS = [
    (
        "attack: just inside at radius 0",
        "attack.py",
        "tried.append(INSIDE * np.array",
        "tried.append(0 * np.array",
        f"{_EXACT}::test_an_attack_finds_a_false_radius_just_inside_it",
    ),
    (
        "attack: distance of another norm",
        "attack.py",
        "return np.sqrt((away**2).sum((1, 2, 3)))",
        "return np.abs(away).max((1, 2, 3))",
        f"{_EXACT}::test_an_attack_finds_a_false_radius_just_inside_it",
    ),
]


def _of(folder: str, faults) -> list[Fault]:
    found = []
    for name, file, text, replacement, test in faults:
        path = f"jaxcert/ops/{file[7:]}" if file[:2] == ".." else f"{folder}/{file}"
        found.append(Fault(name, path, text, replacement, (test,)))
    return found


FAULTS = [
    *_of("jaxcert/models", _MODELS),
    *_of("jaxcert/nn", _NN),
    *_of("jaxcert/ops", _OPS),
    *_of("jaxcert/diffusion", _DIFFUSION),
    *_of("jaxcert/attacks", _ATTACKS),
    *_of("jaxcert/certificates", _CERTIFICATES),
    *_of("jaxcert", _PROGRAMS),
]
