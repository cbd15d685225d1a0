"""Planted faults of what is handed out: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

PREDICTOR = "tests/test_predictor.py"
FAMILYWISE = "tests/analysis/test_familywise.py"
RECERTIFY = "tests/test_recertify.py"
BOUNDS = "tests/certificates/test_bad_bounds.py"

FAULTS = [
    (
        "predictor: it answers where the logits may be off by more",
        "api/certifying.py",
        "return bool(first - second > 2 * slack)",
        "return bool(first - second > 0)",
        f"{PREDICTOR}::test_no_error_of_the_logits_gives_another_class_within_a_radius",
    ),
    (
        "predictor: it abstains up to half the slack alone",
        "api/certifying.py",
        "return bool(first - second > 2 * slack)",
        "return bool(first - second > slack)",
        f"{PREDICTOR}::test_no_error_of_the_logits_gives_another_class_within_a_radius",
    ),
    (
        "predictor: products in the precision of the call",
        "api/certifying.py",
        "with jax.default_matmul_precision(self._precision):",
        "with jax.default_matmul_precision(jax.config.jax_default_matmul_precision):",
        f"{PREDICTOR}::test_the_precision_of_products_stays_that_of_its_making",
    ),
    (
        "familywise: holm gives shares of images that have not reached the largest radius",
        "analysis/familywise.py",
        "int((found >= largest).sum())) < images:",
        "int((found >= 0).sum())) < images:",
        f"{FAMILYWISE}::test_familywise_error_by_simulation[holm]",
    ),
    (
        "familywise: holm claims more than the largest radius",
        "analysis/familywise.py",
        "return np.minimum(found, largest), level",
        "return found, level",
        f"{FAMILYWISE}::test_holm_dominates_bonferroni_up_to_its_largest_radius",
    ),
    (
        "familywise: a share of alpha for the images with a class alone",
        "analysis/familywise.py",
        "proven_at(level / own).radius, count, alpha",
        "proven_at(level / own).radius, len(rows), alpha",
        f"{FAMILYWISE}::test_a_record_of_certify",
    ),
    (
        "familywise: bounds of other classes at the whole level",
        "certificates/claims.py",
        "        level = chosen.level * share\n            radius",
        "        level = rechecking.alpha_of(c) * share + 0 * chosen.level\n            radius",
        f"{FAMILYWISE}::test_of_every_procedure_the_evidence_proves_it_at_the_smaller_level",
    ),
    (
        "familywise: bonferroni at the whole alpha",
        "analysis/familywise.py",
        "    level = alpha / images\n    found",
        "    level = alpha\n    found",
        f"{FAMILYWISE}::test_familywise_error_by_enumeration[bonferroni]",
    ),
    (
        "familywise: two_stage counts the votes of the pilot as well",
        "certificates/claims.py",
        "c.n[rows] - procedures.PILOT",
        "c.n[rows]",
        f"{FAMILYWISE}::test_of_every_procedure_the_evidence_proves_it_at_the_smaller_level",
    ),
    (
        "report: the expected number of wrong certificates without the images",
        "analysis/facts.py",
        "at most {alpha * images:.3g} of",
        "at most {alpha:.3g} of",
        f"{FAMILYWISE}::test_the_report_states_what_holds_together",
    ),
    (
        "recertify: the p-value of an image without its number of bounds",
        "certificates/recertifying.py",
        "np.clip(value * what.bounds, _LEAST, 1.0)",
        "np.clip(value * 1.0, _LEAST, 1.0)",
        f"{RECERTIFY}::test_a_true_claim_has_a_p_value_of_at_most_a_with_probability_a",
    ),
    (
        "recertify: fewer than k votes instead of at most k",
        "certificates/recertifying.py",
        "special.betaincc(np.minimum(k, n - 1) + 1, np.maximum(n - k, 1), p)",
        "special.betaincc(np.clip(k, 1, n - 1), np.maximum(n - k, 1) + 1, p)",
        f"{RECERTIFY}::test_p_value_by_hand",
    ),
    (
        "recertify: the smallest p-value for that of all images",
        "certificates/recertifying.py",
        "float(min(1.0, len(p_value) * p_value.min()))",
        "float(min(1.0, p_value.min()))",
        f"{RECERTIFY}::test_p_values_of_several_images_together",
    ),
    (
        "recertify: the votes of the record's own seed",
        "certificates/recertifying.py",
        "seed % 2**32 == own % 2**32",
        "seed == own",
        f"{RECERTIFY}::test_refused",
    ),
    (
        "recertify: a network that is not the record's",
        "certificates/recertifying.py",
        "        if stated != other:",
        '        if stated != other and key != "checkpoint":',
        f"{RECERTIFY}::test_refused",
    ),
    (
        "recertify: a larger radius than that of the network",
        "certificates/recertifying.py",
        "again.radius * (1 + records.SAME)",
        "again.radius * (2 + records.SAME)",
        f"{RECERTIFY}::test_a_deterministic_record_is_computed_again",
    ),
    (
        "recertify: p_lower as the row states it",
        "certificates/recertifying.py",
        "Claimed(name, found.p_lower, found.p_upper, bounds, chosen)",
        "Claimed(name, c.p_lower[rows], found.p_upper, bounds, chosen)",
        f"{RECERTIFY}::test_votes_that_were_invented_are_refuted",
    ),
    (
        "norms: a radius of Gaussian noise where there is no theorem",
        "certificates/norms.py",
        "    check(noise, norm)\n    b, tail",
        "    b, tail",
        f"{BOUNDS}::test_a_pair_of_noise_and_norm_without_a_theorem",
    ),
    (
        "familywise: too few votes of a set without the number of bounds",
        "analysis/familywise.py",
        "least = statistics.min_n_for_any_radius(level / split)",
        "least = statistics.min_n_for_any_radius(level)",
        f"{BOUNDS}::test_the_least_n_of_a_set",
    ),
    (
        "reach: more votes than the least n",
        "certificates/reach.py",
        "enough = statistics.min_n_for_any_radius(each)",
        "enough = 2 * statistics.min_n_for_any_radius(each)",
        f"{BOUNDS}::test_the_least_n_that_is_named_is_the_least",
    ),
]
