"""Planted faults of what is handed out: (name, file, text, replacement, test)."""

FOLDER = "jaxcert"

PREDICTOR = "tests/test_predictor.py"
FAMILYWISE = "tests/analysis/test_familywise.py"

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
        "evidence(level / own)[0], count, alpha",
        "evidence(level / own)[0], len(rows), alpha",
        f"{FAMILYWISE}::test_a_record_of_certify",
    ),
    (
        "familywise: bounds of other classes at the whole level",
        "analysis/familywise.py",
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
        "analysis/familywise.py",
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
]
