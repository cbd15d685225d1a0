"""Planted faults of how far noise and layers reach: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_METRICS = "tests/analysis/test_analysis_metrics.py"
_TRIVIAL = f"{_METRICS}::test_trivial_classifier_is_certified_as_far_as_noise_shows_it"
_ROUNDED = "tests/certificates/test_norms.py::test_a_radius_is_below_its_exact_value_and_p_needed_above"
_NEGATIVE = "tests/models/test_dist_net.py::test_a_negative_scale_turns_the_bounds_of_plain_nets_and_ends_those_of_hybrids"
_EXACT = "tests/certificates/test_exact_cases.py"
_MEANS = f"{_EXACT}::test_running_means_that_are_large_count_in_the_slack"
_NOISY = "tests/diffusion/test_diffusion_lipschitz.py::test_terms_through_the_noise_are_reached"

FAULTS = [
    (
        "statistics: a constant classifier is certified beyond the noise",
        "certificates/statistics.py",
        "max_radius(n, alpha, sigma, least_tail)",
        "max_radius(n, alpha, sigma, 0.0)",
        _TRIVIAL,
    ),
    (
        "statistics: enough votes for what no noise shows",
        "certificates/statistics.py",
        "tail <= least_tail:",
        "tail <= 0 * least_tail:",
        _TRIVIAL,
    ),
    (
        "metrics: noise of tables ends as ours",
        "analysis/metrics.py",
        'if c.header.get("format") == "tsv":\n        return 0.0',
        'if c.header.get("format") == "tsv":\n        return norms.LEAST_TAIL',
        _TRIVIAL,
    ),
    (
        "figures: theory beyond the noise",
        "analysis/figures.py",
        "norms.exact_tail(statistics.upper_tail(n, n, alpha), least)",
        "norms.exact_tail(statistics.upper_tail(n, n, alpha), 0 * least)",
        "tests/analysis/test_tables.py::test_theory_ends_where_the_noise_does[gaussian-4.75]",
    ),
    (
        "norms: needed p is rounded down",
        "certificates/norms.py",
        "np.where(r > 0, found * _UP, 0.5)",
        "np.where(r > 0, found * _DOWN, 0.5)",
        _ROUNDED,
    ),
    (
        "norms: radii of every noise are rounded up",
        "certificates/norms.py",
        "_DOWN, _UP = 1 - 1e-14, 1 + 1e-14",
        "_DOWN, _UP = 1 + 1e-14, 1 + 1e-14",
        _ROUNDED,
    ),
    (
        "dist_net: bounds keep their sides under a negative scale",
        "models/dist_net.py",
        "low, high = jnp.minimum(low, high), jnp.maximum(low, high)",
        "low, high = low + 0 * high, high + 0 * low",
        _NEGATIVE,
    ),
    (
        "dist_net: a hybrid has bounds under a negative scale",
        "models/dist_net.py",
        "jnp.where(scale >= 0, scale, jnp.nan)",
        "jnp.where(scale >= 0, scale, scale)",
        _NEGATIVE,
    ),
    (
        "dist_net: a negative scale makes a negative constant",
        "models/dist_net.py",
        "scale = abs(float(self._scale(np.zeros(()))))",
        "scale = 1.0 * (float(self._scale(np.zeros(()))))",
        _NEGATIVE,
    ),
    (
        "noise: one pixel that is drawn is enough",
        "certificates/noise.py",
        "sure.all()",
        "sure.any()",
        "tests/certificates/test_noise.py::test_one_pixel_that_cannot_be_drawn_is_enough",
    ),
    (
        "lipschitz: running means of a batch are forgotten",
        "certificates/lipschitz.py",
        'state.get("batch_stats", {}))',
        'state.get("batch_stats", {}) and {})',
        f"{_MEANS}[l2-state0]",
    ),
    (
        "lipschitz: running means of a shift are forgotten",
        "certificates/lipschitz.py",
        "for a in jax.tree.leaves((params, state)))",
        "for a in jax.tree.leaves((params, {})))",
        f"{_MEANS}[linf-state1]",
    ),
    (
        "lip_convnet: gains of biases are forgotten",
        "models/_parts.py",
        "layer.bias_gain() for layer in layers",
        "layer.bias_gain() for layer in layers[:0]",
        "tests/models/test_lip_convnet.py::test_growth_counts_what_the_steps_of_residual_layers_make_of_a_bias",
    ),
    (
        "dc: half of the roundings",
        "diffusion/lipschitz.py",
        "(2 * (_side(dims) - 1) + 8) * 2.0**-24",
        "(1 * (_side(dims) - 1) + 8) * 2.0**-24",
        "tests/diffusion/test_diffusion_lipschitz.py::test_rounding_counts_every_operation_of_rows_and_of_their_sum",
    ),
    (
        "dc: the cap counts twice in the term through the noise",
        "diffusion/lipschitz.py",
        "noisy = c * math.sqrt(2 / math.pi) /",
        "noisy = c * c * math.sqrt(2 / math.pi) /",
        f"{_NOISY}[0.04]",
    ),
    (
        "dc: constant of levels that are not drawn",
        "certificates/diffusion_classifier.py",
        "law.levels.sigma.astype(np.float32).astype(np.float64)",
        "law.levels.sigma.astype(np.float64)",
        "tests/certificates/test_diffusion_certificates.py::test_constant_of_a_diffusion_classifier_is_that_of_the_noise_that_is_drawn",
    ),
    (
        "soc: remainder of one term more",
        "nn/soc.py",
        "range(1, TERMS + 1)",
        "range(1, TERMS + 2)",
        "tests/nn/test_soc.py::test_bound_is_one_and_the_first_term_that_is_left_out",
    ),
    (
        "recheck: a pilot of any size",
        "certificates/procedures.py",
        '(rechecking.whole(c, "pilot", asked) == PILOT)',
        '(rechecking.whole(c, "pilot", asked) > 0)',
        "tests/analysis/test_recheck.py::test_two_stage_rows_of_another_pilot_fail",
    ),
]
