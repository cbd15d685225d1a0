"""Planted faults of LipNeXt and of its optimizer: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert"

_NETWORK = "tests/models/test_lipnext.py"
_GROUP = "tests/training/test_manifold.py"
_TWICE = f"{_NETWORK}::test_bounds_of_blocks_count_the_first_matrix_twice"
_SERIES = f"{_GROUP}::test_fast_exponential_is_the_series_to_the_order_of_its_norm"
_EARLY = f"{_GROUP}::test_drift_above_the_limit_is_retracted_within_an_epoch"
_HALF = f"{_GROUP}::test_lookahead_takes_half_of_the_way_in_the_algebra"

FAULTS = [
    (
        "lipnext: a share of the channels is counted in floats",
        "models/lipnext.py",
        "return channels",
        "return int(share * width)",
        f"{_NETWORK}::test_a_share_of_the_channels_is_counted_as_it_is_written",
    ),
    (
        "lipnext: bounds of the second matrices alone",
        "nn/spatial_shift.py",
        "for pair in pairs for a in pair]",
        "for pair in pairs for a in pair[1:] * 2]",
        _TWICE,
    ),
    (
        "lipnext: drift is left out of the estimate in evaluation",
        "nn/spatial_shift.py",
        "        if train:\n            return jnp.ones",
        "        if train or self.depth:\n            return jnp.ones",
        _TWICE,
    ),
    (
        "lipnext: M is not turned",
        "nn/spatial_shift.py",
        "return linalg.product(r, jnp.swapaxes(m, -1, -2), how)",
        "return linalg.product(r, m, how)",
        f"{_NETWORK}::test_a_block_is_the_formula_of_the_paper",
    ),
    (
        "lipnext: a group of channels goes the wrong way",
        "nn/spatial_shift.py",
        "jnp.roll(left, -1, 2)",
        "jnp.roll(left, 1, 2)",
        f"{_NETWORK}::test_four_groups_of_channels_move_by_one_token_and_come_in_again",
    ),
    (
        "lipnext: an activation that expands",
        "nn/spatial_shift.py",
        "jnp.abs(x), x)",
        "jnp.abs(1.5 * x), x)",
        f"{_NETWORK}::test_a_block_is_an_isometry_before_its_activation_and_1_lipschitz_after_it",
    ),
    (
        "lipnext: a position counts as one bias whatever the width",
        "nn/spatial_shift.py",
        "math.sqrt(channels / (height * width))",
        "math.sqrt(1 / (height * width))",
        f"{_NETWORK}::test_position_counts_as_a_bias_of_every_channel",
    ),
    (
        "lipnext: a sum over tokens instead of their norm",
        "models/lipnext.py",
        "self.head(linalg.safe_norm(x, axis=(1, 2)))",
        "self.head(abs(x).sum((1, 2)))",
        f"{_NETWORK}::test_slopes_of_the_network_are_at_most_the_proven_constant",
    ),
    (
        "lipnext: half the distances of the head",
        "nn/heads.py",
        "return (1 + 1e-12) * distance",
        "return (0.5 + 1e-12) * distance",
        f"{_NETWORK}::test_the_slope_of_one_channel_and_token_reaches_the_constant",
    ),
    (
        "manifold: gradient that is not turned into the algebra",
        "training/manifold.py",
        "product = _product(_t(x), gradient)",
        "product = gradient",
        f"{_GROUP}::test_skew_gradient_is_the_slope_along_every_curve_in_the_group",
    ),
    (
        "manifold: series of the third order is used too long",
        "training/manifold.py",
        "for at in (0.05, 0.25, 1.0))",
        "for at in (0.05, 0.5, 1.0))",
        _SERIES,
    ),
    (
        "manifold: one squaring is missing",
        "training/manifold.py",
        "0, times.astype(jnp.int32), lambda",
        "1, times.astype(jnp.int32), lambda",
        f"{_GROUP}::test_fast_exponential_of_long_steps_is_the_exponential",
    ),
    (
        "manifold: steps on the other side",
        "training/manifold.py",
        "return x + _product(x, fast_exp_minus_one(step))",
        "return x + _product(fast_exp_minus_one(step), x)",
        f"{_GROUP}::test_a_step_without_moments_is_the_projected_euclidean_one_to_second_order",
    ),
    (
        "manifold: no retraction where an epoch ends",
        "training/manifold.py",
        "jax.lax.cond(ends | far,",
        "jax.lax.cond(far,",
        f"{_GROUP}::test_an_epoch_ends_on_the_group",
    ),
    (
        "manifold: drift is measured and nothing is done",
        "training/manifold.py",
        "jax.lax.cond(ends | far,",
        "jax.lax.cond(ends,",
        _EARLY,
    ),
    (
        "manifold: an early retraction is not told",
        "training/manifold.py",
        "found.astype(float), far\n",
        "found.astype(float), far & ends\n",
        _EARLY,
    ),
    (
        "manifold: drift where an epoch ends is not told",
        "training/manifold.py",
        "found.astype(float), far\n",
        "found.astype(float), far & ~ends\n",
        f"{_GROUP}::test_drift_above_the_limit_is_told_where_an_epoch_ends",
    ),
    (
        "manifold: any start is taken",
        "training/manifold.py",
        "<= LIMIT:",
        "<= 10 * LIMIT:",
        f"{_GROUP}::test_a_start_that_is_far_from_orthogonal_is_refused",
    ),
    (
        "manifold: lookahead takes the whole way",
        "training/manifold.py",
        "_moved(x, a / 2), slow",
        "_moved(x, a), slow",
        _HALF,
    ),
    (
        "manifold: the way since the last lookahead is not forgotten",
        "training/manifold.py",
        "jnp.where(sync, 0, w)",
        "jnp.where(sync, w, w)",
        _HALF,
    ),
    (
        "manifold: orthogonal parameters decay",
        "training/optim.py",
        "mask = partial(_free, mask)",
        "mask = mask and partial(_free, mask)",
        f"{_GROUP}::test_orthogonal_parameters_never_decay[adamw]",
    ),
]
