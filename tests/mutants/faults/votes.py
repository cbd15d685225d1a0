"""Planted faults of the certificates: (name, file, text, replacement, test)."""

# ruff: noqa: E501

FOLDER = "jaxcert/certificates"

_CERTIFICATES = "tests/certificates"
EXACT = f"{_CERTIFICATES}/test_exact_cases.py"
STAGES = f"{_CERTIFICATES}/test_exact_stages.py"
VOTES = f"{_CERTIFICATES}/test_votes_one_by_one.py"
SMOOTHING = f"{_CERTIFICATES}/test_smoothing.py"
NOISE = f"{_CERTIFICATES}/test_noise.py"
DIFFUSION = f"{_CERTIFICATES}/test_diffusion_certificates.py"
STATISTICS = f"{_CERTIFICATES}/test_statistics.py"
_LAW = f"{NOISE}::test_noise_has_the_law_it_is_named_after"
_UNDRAWN = f"{NOISE}::test_what_cannot_be_drawn_exactly_is_no_vote"
_KEYS = (
    f"{VOTES}::test_votes_draw_their_noise_and_their_own_chance_from_keys_of_their_own"
)
_DC = f"{VOTES}::test_bounds_of_a_diffusion_classifier_come_from_draws_that_did_not_choose"
_NOISED = f"{VOTES}::test_votes_of_a_noised_diffusion_classifier"
_DENOISED = f"{VOTES}::test_votes_of_denoised_smoothing_and_those_that_float32_changes"
_CERTIFY = f"{STAGES}::test_certify_counts_the_selected_class_among_the_votes_after_the_selection"
_RADII = (
    f"{STAGES}::test_radii_are_decided_by_votes_after_the_selection_at_the_level_alpha"
)
_SLACK = f"{EXACT}::test_a_lipschitz_radius_grants_the_forward_pass_twice_its_slack"

FAULTS = [
    (
        "noise: gaussian in the place of laplace",
        "noise.py",
        "jax.random.laplace(",
        "jax.random.normal(",
        _LAW,
    ),
    (
        "noise: uniform on one side",
        "noise.py",
        "image.dtype, -1, 1",
        "image.dtype, 0, 1",
        _LAW,
    ),
    (
        "noise: sigma in units of 255",
        "noise.py",
        "np.float32(norms.scale(noise, sigma))",
        "np.float32(norms.scale(noise, sigma) / 255)",
        _LAW,
    ),
    (
        "noise: votes inside a gap of the grid count",
        "noise.py",
        "_at_most(upper[:, last], u) & (passed",
        "(_at_most(upper[:, last], u) | True) & (passed",
        _UNDRAWN,
    ),
    (
        "noise: votes beyond the grid count",
        "noise.py",
        "& (passed < lower.shape[1])",
        "& (passed <= lower.shape[1])",
        _UNDRAWN,
    ),
    (
        "noise: a grid of 256 steps",
        "noise.py",
        "jnp.round(image * 255)",
        "jnp.round(image * 256)",
        f"{NOISE}::test_grid_noise_is_exact_in_every_pixel",
    ),
    (
        "smoothing: abstentions keep their class",
        "smoothing.py",
        "np.where(says, decided.selected, ABSTAIN)",
        "np.where(~failed, decided.selected, ABSTAIN)",
        f"{SMOOTHING}::test_abstaining_has_radius_zero_and_deciding_does_not",
    ),
    (
        "smoothing: abstentions keep their radius",
        "smoothing.py",
        "radius=np.where(says, decided.radius, 0.0)",
        "radius=np.where(failed, 0.0, decided.radius + 0.1)",
        f"{SMOOTHING}::test_abstaining_has_radius_zero_and_deciding_does_not",
    ),
    (
        "smoothing: pixels that are not finite are forgotten",
        "smoothing.py",
        "failed = decided.failed | ~finite",
        "failed = decided.failed | (~finite & False)",
        f"{SMOOTHING}::test_an_image_that_is_not_finite_is_an_error",
    ),
    (
        "smoothing: header has the sigma that was asked for",
        "smoothing.py",
        "drawn = float(np.float32(sigma))",
        "drawn = float(sigma)",
        f"{SMOOTHING}::test_header_claims_the_sigma_that_is_drawn",
    ),
    (
        "smoothing: images have one number in linf",
        "smoothing.py",
        "d = math.prod(image_shape or (1,))",
        "d = 1",
        f"{VOTES}::test_a_radius_in_linf_is_that_of_l2_over_the_root_of_the_numbers",
    ),
    (
        "smoothing: network is compared with itself",
        "smoothing.py",
        "for f in (vote, exact)",
        "for f in (exact, exact)",
        f"{SMOOTHING}::test_changed_votes_of_float32_are_counted",
    ),
    (
        "smoothing: variances below 0 pass",
        "networks.py",
        'least = 0 if getattr(path[-1], "key", "") == "var"',
        'least = 0 if getattr(path[-1], "key", "") == "none"',
        f"{SMOOTHING}::test_a_network_that_is_not_finite_is_refused[variance]",
    ),
    (
        "inputs: indices beyond 32 bits repeat noise",
        "inputs.py",
        "index.max() >= 2**32",
        "index.max() >= 2**40",
        f"{VOTES}::test_an_index_beyond_32_bits_is_refused",
    ),
    (
        "inputs: an index may come twice",
        "inputs.py",
        "len(np.unique(index)) < index.size",
        "len(np.unique(index)) < 0",
        f"{SMOOTHING}::test_rows_that_no_record_takes_are_refused",
    ),
    (
        "voting: noise is reused across images",
        "voting.py",
        "jax.random.fold_in(key, index)",
        "jax.random.fold_in(key, 0 * index)",
        f"{SMOOTHING}::test_images_of_one_batch_and_keys_have_their_own_noise",
    ),
    (
        "voting: the estimation repeats the samples of the selection",
        "voting.py",
        "first = start[0] - (ends",
        "first = 0 * start[0] - (ends",
        f"{SMOOTHING}::test_estimation_uses_fresh_samples_and_exactly_n",
    ),
    (
        "voting: the vote is handed the key of its noise",
        "voting.py",
        "vote(keys[:, 1],",
        "vote(keys[:, 0],",
        _KEYS,
    ),
    (
        "voting: what could not be drawn counts",
        "voting.py",
        "counted = wanted & drawn",
        "counted = wanted & (drawn | True)",
        f"{VOTES}::test_noise_that_could_not_be_drawn_is_a_vote_for_no_class",
    ),
    (
        "voting: a chunk that is not full counts in full",
        "voting.py",
        "wanted = t < ends[-1]",
        "wanted = t < ends[-1] + chunk",
        f"{SMOOTHING}::test_pieces_are_counted_apart_however_many_there_are",
    ),
    (
        "voting: one finite logit is enough",
        "voting.py",
        "finite = jnp.isfinite(votes).all(-1)",
        "finite = jnp.isfinite(votes).any(-1)",
        f"{SMOOTHING}::test_logits_vote_for_their_argmax_unless_one_is_not_finite",
    ),
    (
        "voting: classes below 0 count from the end",
        "voting.py",
        "inside = (votes >= 0) & (votes <",
        "inside = (votes >= -votes.size) & (votes <",
        f"{SMOOTHING}::test_unfinished_votes_count_for_no_class",
    ),
    (
        "voting: all devices draw the same samples",
        "voting.py",
        "np.pad(start, (0, pad)) + edges[:-1]",
        "np.pad(start, (0, pad)) + 0 * edges[:-1]",
        f"{SMOOTHING}::test_one_and_eight_devices_give_the_same_rows",
    ),
    (
        "denoised smoothing: sigma in the scale of [-1, 1]",
        "denoised_smoothing.py",
        "edm.one_step(denoise, noisy, sigma)",
        "edm.one_step(denoise, noisy, 2 * sigma)",
        _DENOISED,
    ),
    (
        "denoised smoothing: the classifier sees the noise",
        "denoised_smoothing.py",
        "jnp.where(finite, classify(clean), jnp.nan)",
        "jnp.where(finite, classify(noisy), jnp.nan)",
        _DENOISED,
    ),
    (
        "denoised smoothing: NaN of the denoiser is forgotten",
        "denoised_smoothing.py",
        "jnp.where(finite, classify(clean), jnp.nan)",
        "jnp.where(finite | True, classify(clean), jnp.nan)",
        f"{DIFFUSION}::test_nan_of_the_denoiser_is_no_vote_behind_a_classifier",
    ),
    (
        "denoised smoothing: the denoiser is compared with itself",
        "denoised_smoothing.py",
        "_vote(in_float32(network), in_float32",
        "_vote(network, in_float32",
        _DENOISED,
    ),
    (
        "noised classifier: sigma of pixels",
        "noised_diffusion_classifier.py",
        "2.0 * float(np.float32(sigma))",
        "1.0 * float(np.float32(sigma))",
        _NOISED,
    ),
    (
        "noised classifier: images of [0, 1] are not scaled",
        "noised_diffusion_classifier.py",
        "x = edm.to_signed(noisy)",
        "x = noisy",
        _NOISED,
    ),
    (
        "noised classifier: one draw for all votes",
        "noised_diffusion_classifier.py",
        "classifiers.draws(keys, x)",
        "classifiers.draws(keys[jnp.zeros(len(x), int)], x)",
        f"{DIFFUSION}::test_votes_of_one_noisy_image_differ_by_their_keys_alone",
    ),
    (
        "noised classifier: the second network is not asked",
        "noised_diffusion_classifier.py",
        "other = others or denoise",
        "other = denoise",
        f"{_NOISED}[apndc]",
    ),
    (
        "noised classifier: a hybrid keeps its first class alone",
        "noised_diffusion_classifier.py",
        "base.keep)[0][:, -1:]",
        "base.keep)[0][:, :1]",
        f"{VOTES}::test_a_hybrid_takes_the_best_of_the_classes_that_its_classifier_names_first",
    ),
    (
        "dc: bounds of the draws that chose the class",
        "diffusion_classifier.py",
        "u[n0:], a, weights",
        "u[:n], a, weights",
        _DC,
    ),
    (
        "dc: every chunk repeats the draws of the first",
        "diffusion_classifier.py",
        "first + jnp.arange(size)",
        "0 * first + jnp.arange(size)",
        f"{_DC}[1]",
    ),
    (
        "dc: noise is reused across images",
        "diffusion_classifier.py",
        "jax.random.fold_in(key, np.uint32(index))",
        "jax.random.fold_in(key, np.uint32(0 * index))",
        f"{_DC}[64]",
    ),
    (
        "dc: half of the noise that is claimed",
        "diffusion_classifier.py",
        "clean + sigma[t] * noise(t)",
        "clean + 0.5 * sigma[t] * noise(t)",
        f"{_DC}[64]",
    ),
    (
        "dc: constant of one logit",
        "diffusion_classifier.py",
        "constant = lipschitz.lipschitz_margin(weight",
        "constant = 0.5 * lipschitz.lipschitz_margin(weight",
        f"{_DC}[64]",
    ),
    (
        "dc: level is twice alpha",
        "diffusion_classifier.py",
        "lower = _BOUNDS[bound](*found, n, -most, most, alpha)",
        "lower = _BOUNDS[bound](*found, n, -most, most, 2 * alpha)",
        f"{_DC}[64]",
    ),
    (
        "dc: a class without a radius is predicted",
        "diffusion_classifier.py",
        "(a if radius > 0 else ABSTAIN)",
        "(a if radius >= 0 else ABSTAIN)",
        f"{DIFFUSION}::test_an_image_between_two_classes_abstains",
    ),
    (
        "lipschitz: logits count as exact",
        "lipschitz.py",
        "pairwise, y, slack)",
        "pairwise, y, 0 * slack)",
        _SLACK,
    ),
    (
        "lipschitz: growth inside is forgotten",
        "lipschitz.py",
        "bound.pairwise[off].max()), bound.growth)",
        "bound.pairwise[off].max()), 0 * bound.growth)",
        _SLACK,
    ),
    (
        "lipschitz: large biases are forgotten",
        "lipschitz.py",
        "box + 2.0**-40 *",
        "box + 0.0 *",
        _SLACK,
    ),
    (
        "lipschitz: weights are rounded to float32",
        "lipschitz.py",
        "return leaf.astype(np.float64) if",
        "return leaf.astype(np.float32).astype(np.float64) if",
        f"{EXACT}::test_logits_are_those_of_float64",
    ),
    (
        "lipschitz: one finite logit is enough",
        "lipschitz.py",
        "np.isfinite(logits).all(1), logits.argmax(1), ERROR",
        "np.isfinite(logits).any(1), logits.argmax(1), ERROR",
        f"{EXACT}::test_one_finite_logit_beside_an_infinite_one_is_none",
    ),
    (
        "lipschitz: weights of 16 bits pass",
        "lipschitz.py",
        ".itemsize < 4 for leaf",
        ".itemsize < 2 for leaf",
        f"{EXACT}::test_weights_of_16_bits_are_refused",
    ),
    (
        "interval: logits that are not finite hold",
        "interval.py",
        "predicted = np.where(finite,",
        "predicted = np.where(finite | True,",
        f"{EXACT}::test_one_finite_logit_beside_an_infinite_one_is_none",
    ),
    (
        "certify: class of the votes that count",
        "procedures.py",
        "    chosen = runner_up.choose(\n        rival, selection, n0=n0, n=n, alpha=alpha, radius_of=radius_of\n    )\n    k, other = chosen.votes(counts, n)",
        "    chosen = runner_up.choose(\n        rival, counts, n0=n0, n=n, alpha=alpha, radius_of=radius_of\n    )\n    k, other = chosen.votes(counts, n)",
        _CERTIFY,
    ),
    (
        "certify: the n0 votes are counted into n",
        "procedures.py",
        "np.repeat([0, n0], images), np.repeat([n0, n], images)",
        "np.repeat([0, 0], images), np.repeat([n0, n], images)",
        _CERTIFY,
    ),
    (
        "certify: answers at radius 0",
        "procedures.py",
        "    return Decided(\n        chosen.selected,\n        radius > 0,\n        radius,\n        statistics.once(",
        "    return Decided(\n        chosen.selected,\n        radius >= 0,\n        radius,\n        statistics.once(",
        _CERTIFY,
    ),
    (
        "predict: samples that could not be drawn are for no class",
        "procedures.py",
        "np.minimum(second + undrawn * (n - counts.sum(1)), first)",
        "np.minimum(second, first)",
        "tests/test_audit.py::test_samples_that_could_not_be_drawn_count_for_the_second_of_predict",
    ),
    (
        "predict: level of twice alpha",
        "procedures.py",
        "sure = statistics.predict_pvalue(*two_most(counts, n, undrawn)) <= alpha",
        "sure = statistics.predict_pvalue(*two_most(counts, n, undrawn)) <= 2 * alpha",
        f"{STAGES}::test_predictions_are_made_at_the_level_of_the_two_sided_test",
    ),
    (
        "radii: one above a gap counts",
        "procedures.py",
        "np.cumprod(proven, 1).sum(1)",
        "np.asarray(proven, int).sum(1)",
        f"{STAGES}::test_a_radius_counts_where_it_and_all_below_are_proven",
    ),
    (
        "radii: votes of the selection count",
        "looking.py",
        "self._draw(rows, self._n0 + before, size)",
        "self._draw(rows, before, size)",
        _RADII,
    ),
    (
        "radii: boundaries at twice the level",
        "procedures.py",
        "sequential.boundary(float(p), looks, alpha)",
        "sequential.boundary(float(p), looks, 2 * alpha)",
        _RADII,
    ),
    (
        "sequence: mixture at twice the level",
        "looking.py",
        "sequential.mixture_lower(k, looks[j], alpha)",
        "sequential.mixture_lower(k, looks[j], 2 * alpha)",
        f"{STAGES}::test_a_sequence_ends_with_the_best_of_bounds_that_hold_together[mixture]",
    ),
    (
        "procedures: images without a vote have not failed",
        "looking.py",
        "self.failed = self.selection.sum(1) == 0",
        "self.failed = self.selection.sum(1) < 0",
        f"{STAGES}::test_an_image_without_a_finite_vote_in_the_selection_has_failed",
    ),
    (
        "clopper-pearson: p_lower in float32",
        "statistics.py",
        "np.nextafter(1 - tail, 0.0), below_half",
        "np.float32(1 - tail).astype(float), below_half",
        f"{STAGES}::test_p_lower_is_never_above_one_less_its_tail",
    ),
    (
        "clopper-pearson: proof of the other tail",
        "statistics.py",
        "proven = special.betaincc(n - k + 1",
        "proven = special.betainc(n - k + 1",
        f"{STATISTICS}::test_clopper_pearson_is_the_originals",
    ),
    (
        "radius: quantile is not rounded down",
        "norms.py",
        "np.maximum(found, 0.0) * _DOWN",
        "np.maximum(found, 0.0) * _UP",
        f"{STAGES}::test_a_radius_is_never_above_sigma_times_the_quantile_of_its_tail",
    ),
    (
        "arithmetic: products of any precision",
        "_arithmetic.py",
        "errors < 2.0**-40",
        "errors < 2.0**-4",
        f"{_CERTIFICATES}/test_arithmetic.py::test_short_products_are_refused",
    ),
    (
        "arithmetic: the order of sums is not looked at",
        "_arithmetic.py",
        '("the order of sums", sums, np',
        '("the order of sums", 0 * sums, np',
        f"{_CERTIFICATES}/test_arithmetic.py::test_fast_math_is_refused[fast]",
    ),
]
